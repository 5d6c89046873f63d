"""Which segments of a job count, and what they are called: by label, score and area, after labels were renamed."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from pydantic import Field

from maskmill.errors import UsageError
from maskmill.schema import Record, Segment, Subtask
from maskmill.schema.record import Fraction
from maskmill.suggest import did_you_mean

CategoryIds = Literal["contiguous", "label"]


class NewName(Record):
    """What a label becomes: another name (None: its segments are left out), and whether that is a thing."""

    name: str | None
    thing: bool | None = None


class Selection(Record):
    """Which segments count. Nothing in it needs the model again.

    `labels` are names as they are after `renamed`; none means all. Segments without a score (semantic ones) have no
    place where a `min_score` is asked for. `things` and `stuff` say of names what they are, against any list.

    `Selection(labels=("person", "car"), min_score=0.8)`
    """

    labels: tuple[str, ...] = ()
    renamed: dict[str, NewName] = Field(default_factory=dict)
    min_score: Fraction | None = None
    min_area: Annotated[int, Field(ge=1)] | None = None
    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    category_ids: CategoryIds = "contiguous"

    def name_of(self, title: str) -> str | None:
        """What segments of this label are called; None if none of them counts."""
        new = self.renamed.get(title)
        name = new.name if new else title
        return name if name is not None and (not self.labels or name in self.labels) else None

    def chosen(self, segments: Iterable[Segment]) -> tuple[tuple[Segment, ...], Counter[str]]:
        """The segments that count, with their new names, and how many do not, by reason: label, score, area, no_pixels.

        Pipelines list instances, too, that others cover wholly.
        """
        kept: list[Segment] = []
        left_out: Counter[str] = Counter()
        for segment in segments:
            name = self.name_of(segment.title)
            if reason := self._against(name, segment):
                left_out[reason] += 1
            else:
                kept.append(segment if name == segment.label else replace(segment, label=name))
        return tuple(kept), left_out

    def _against(self, name: str | None, segment: Segment) -> str | None:
        if not segment.area:
            return "no_pixels"
        if name is None:
            return "label"
        if self.min_score is not None and (segment.score is None or segment.score < self.min_score):
            return "score"
        return "area" if self.min_area is not None and segment.area < self.min_area else None

    def check(self, titles: Sequence[str], subtask: Subtask | None) -> None:
        """Raise `UsageError` for a label that neither model nor job has, and for scores where there are none."""
        if subtask is Subtask.SEMANTIC and self.min_score is not None:
            raise UsageError("--min-score: segments of a semantic job have no scores; --min-area is there for them")
        _check_known("--map-labels", self.renamed, titles)
        new = {each.name for each in self.renamed.values() if each.name is not None}
        after = new | {title for title in titles if title not in self.renamed}
        for option, names in (("--labels", self.labels), ("--things", self.things), ("--stuff", self.stuff)):
            _check_known(option, names, after)
        if both := set(self.things) & set(self.stuff):
            raise UsageError(f"'{min(both)}' cannot be among --things and --stuff")


def _check_known(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = set(known)
    for name in names:
        if name not in there:
            listed = ", ".join(sorted(there)[:12]) + (", …" if len(there) > 12 else "")
            raise UsageError(f"{option}: the job has no label {name!r}{did_you_mean(name, there)} (there are {listed})")


def read_label_map(path: Path) -> dict[str, NewName]:
    """What a file for `--map-labels` says; raises `UsageError` for one that is none.

    JSON: `{"car": "vehicle", "truck": {"name": "vehicle", "thing": true}, "N/A": null}`, or CSV with the columns
    `label,name` and, if need be, `thing` (yes or no); an empty name leaves the label out.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _of_csv(text) if path.suffix.lower() == ".csv" else _of_json(text)
        return {label: NewName.model_validate(new) for label, new in rows.items()}
    except OSError as error:
        raise UsageError(f"--map-labels {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f'--map-labels {path}: neither JSON such as {{"car": "vehicle"}} nor CSV with columns label,name'
        ) from error


def _of_json(text: str) -> Mapping[str, object]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a wrong file, told as such by the caller
    return {label: new if isinstance(new, dict) else {"name": new} for label, new in found.items()}


def _of_csv(text: str) -> Mapping[str, object]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    if not {"label", "name"} <= set(rows.fieldnames or ()):
        raise ValueError("no columns label,name")
    return {row["label"]: {"name": row["name"] or None, "thing": _yes_or_no(row.get("thing"))} for row in rows}


def _yes_or_no(word: str | None) -> bool | None:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if not word:
        return None
    if word.casefold() not in words:
        raise ValueError(f"{word} is neither yes nor no")
    return words[word.casefold()]


def of_options(
    *,
    labels: Sequence[str] = (),
    map_labels: Path | None = None,
    min_score: float | None = None,
    min_area: int | None = None,
    things: Sequence[str] = (),
    stuff: Sequence[str] = (),
    category_ids: str = "contiguous",
) -> Selection:
    """A selection as a user names it; raises `UsageError` for a value that is none."""
    if category_ids not in get_args(CategoryIds):
        raise UsageError(f"--category-ids: there are {' and '.join(get_args(CategoryIds))}, not {category_ids!r}")
    return Selection(
        labels=tuple(labels),
        renamed=read_label_map(map_labels) if map_labels else {},
        min_score=min_score,
        min_area=min_area,
        things=tuple(things),
        stuff=tuple(stuff),
        category_ids=cast("CategoryIds", category_ids),
    )
