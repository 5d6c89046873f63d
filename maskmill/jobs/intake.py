"""The account of a job's sources: each entry is submitted or left out, and counted: found = submitted + left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from maskmill.addresses import without_query
from maskmill.errors import SourceError
from maskmill.images.entries import Entry, LeftOut, Numbered, Reason, Unlisted
from maskmill.jobs.seen import Seen
from maskmill.schema import reference_line
from maskmill.storage import keys


class Intake:
    """Takes entries and gives the lines of a shard for those that are submitted.

    `root` is the folder below which masks mirror local paths, `own` what the job's own results lie below. Of images
    that come twice the first counts, also when the second is signed anew (`maskmill.addresses.identity`); where none
    can come twice (`may_repeat`), nothing is kept of them.
    """

    def __init__(self, root: str | None, own: Sequence[str] = (), *, may_repeat: bool = True) -> None:
        self.root = root
        self.own = tuple(f"{each.rstrip('/')}/" for each in own)
        self.submitted = 0
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._seen = Seen() if may_repeat else None

    def lines(self, entries: Sequence[Entry | Numbered]) -> list[str]:
        """The references among these entries; the others are counted."""
        wanted = list(self._wanted(entries))
        fresh = self._seen.add([uri for uri, _, _ in wanted]) if self._seen else [True] * len(wanted)
        lines = list[str]()
        for (uri, problem, number), is_fresh in zip(wanted, fresh, strict=True):
            if is_fresh:
                lines.append(reference_line(uri, keys.mask(uri, self.root), problem, number))
            else:
                self._leave_out(Reason.DUPLICATE, uri)
        self.submitted += len(lines)
        return lines

    def _wanted(self, entries: Sequence[Entry | Numbered]) -> Iterator[tuple[str, str | None, int | None]]:
        """Address, problem and input of what may be submitted."""
        for each in entries:
            entry, number = (each.entry, each.input) if isinstance(each, Numbered) else (each, None)
            name = entry if isinstance(entry, str) else entry.name
            if self.own and name.startswith(self.own):
                self._leave_out(Reason.OWN_RESULT, name)
            elif isinstance(entry, LeftOut):
                self._leave_out(entry.reason, name)
            else:
                yield name, entry.problem if isinstance(entry, Unlisted) else None, number

    def _leave_out(self, reason: Reason, name: str) -> None:
        self.left_out[reason.value] += 1
        if reason.value not in self.examples:
            self.examples[reason.value] = without_query(name)[:500]


def check_strict(left_out: Mapping[str, int], examples: Mapping[str, str]) -> None:
    """Raise `SourceError` when entries were left out; Maskmill's own results are nobody's images."""
    missed = {reason: number for reason, number in left_out.items() if reason != Reason.OWN_RESULT.value}
    if missed:
        raise SourceError(
            f"--strict refuses what is left out: {in_words(missed, examples)}: submit without it, or with "
            "--all-files, which takes hidden files and any name"
        )


def nothing_to_do(left_out: Mapping[str, int], examples: Mapping[str, str]) -> SourceError:
    """Why a job would have no image, and the cure."""
    if not left_out:
        return SourceError("no images: what was given is empty")
    if set(left_out) == {Reason.EMPTY.value}:
        return SourceError(f"{examples[Reason.EMPTY.value]} has no images: name what has .jpg, .png, .tif… files")
    if set(left_out) == {Reason.OWN_RESULT.value}:
        return SourceError(
            f"all images lie where the masks go ({examples[Reason.OWN_RESULT.value]}): choose another --out"
        )
    cure = ": --all-files tries them" if {Reason.NAME.value, Reason.UNKNOWN_KIND.value} & set(left_out) else ""
    return SourceError(f"no images; of what was found there is left out: {in_words(left_out, examples)}{cure}")


def in_words(left_out: Mapping[str, int], examples: Mapping[str, str] = MappingProxyType({})) -> str:
    """`{"hidden": 2}` as `2 hidden (/photos/.a.jpg…)`."""
    texts = []
    for reason, number in left_out.items():
        words = Reason(reason).words if reason in set(Reason) else reason
        example = f" ({examples[reason]}{'…' if number > 1 else ''})" if reason in examples else ""
        texts.append(f"{number:,} {words}{example}")
    return ", ".join(texts)
