"""What a whole job has, before its first mask is read: numbers of images and segments, labels, and equal names."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from maskmill.dataset.classes import Classes
from maskmill.dataset.images import (
    Dataset,
    ShardPlace,
    digest_of,
    plain_stem,
    stem_with_digest,
    stem_with_extension,
)
from maskmill.dataset.in_processes import Pool
from maskmill.schema import Counts

DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
ROW = np.dtype([("number", "<i4"), ("segments", "<i4"), ("name", DIGEST), ("stem", DIGEST), ("longer", DIGEST)])
"""An image: its number in its shard, its segments that count, digests of its name, its stem and that with extension."""

_ROW = struct.Struct("<ii16s16s16s")

Rows: TypeAlias = NDArray[np.void]


def row_of(number: int, segments: int, name: str) -> bytes:
    """The image of this name as bytes of a `ROW`."""
    return _ROW.pack(number, segments, *map(digest_of, (name, plain_stem(name), stem_with_extension(name))))


@dataclass(frozen=True)
class ShardSurvey:
    """One shard's numbers, and a row for each image that has a mask."""

    outcomes: int
    rows: Rows
    left_out: Counter[str]
    labels: dict[int, str]

    @classmethod
    def of(cls, dataset: Dataset, shard: int) -> ShardSurvey:
        """Read the shard's report and count."""
        outcomes = dataset.source.outcomes(shard)
        rows, left_out = bytearray(), Counter[str]()
        labels: dict[int, str] = {}
        for number, outcome in enumerate(outcomes):
            for segment in outcome.segments or ():
                labels.setdefault(segment.label_id, segment.title)
            if outcome.has_mask:
                image = dataset.image(outcome, number)
                rows += row_of(number, len(image.segments), image.name)
                left_out += image.left_out
        return cls(len(outcomes), np.frombuffer(rows, ROW), left_out, labels)


@dataclass(frozen=True)
class Survey:
    """A whole job's numbers. While it is made it holds 56 bytes of each image.

    `images` and `segments` will be in the result; `repeated` images have a name that came before, `same_stem` ones a
    stem that others have: `cat.jpg` and `cat.png`.
    """

    places: tuple[ShardPlace, ...]
    images: int
    segments: int
    repeated: int
    same_stem: int
    not_masked: Counter[str]
    left_out: Counter[str]
    classes: Classes

    @classmethod
    def of(cls, dataset: Dataset, pool: Pool[Dataset]) -> Survey:
        """Read all reports, in the pool's processes; raises `UsageError` for labels that the job does not have."""
        rows, sizes = np.empty(dataset.source.record.images, ROW), list[tuple[int, int]]()
        labels, left_out, filled = dict[int, str](), Counter[str](), 0
        for each in pool.map(ShardSurvey.of, range(dataset.source.shards)):
            rows[filled : filled + len(each.rows)] = each.rows
            filled += len(each.rows)
            sizes.append((each.outcomes, len(each.rows)))
            labels = each.labels | labels
            left_out += each.left_out
        rows, labels = rows[:filled], labels | dict(dataset.source.labels)
        subtask = dataset.source.record.spec.subtask
        dataset.selection.check(sorted(set(labels.values())), subtask)
        repeated = _later(rows["name"])
        extended, hashed = _stems(rows, repeated)
        rows["segments"][repeated] = 0
        return cls(
            places=tuple(_places(sizes, rows, repeated, extended, hashed)),
            images=filled - int(repeated.sum()),
            segments=int(rows["segments"].sum()),
            repeated=int(repeated.sum()),
            same_stem=int((extended | hashed).sum()),
            not_masked=_not_masked(dataset.source.manifest.counts, filled),
            left_out=left_out,
            classes=Classes.of(labels, dataset.selection, subtask),
        )


def _not_masked(counts: Counts, listed: int) -> Counter[str]:
    """Images of the job that are not in the dataset: by status, and those whose mask a folder lacks."""
    lacking = counts.stored + counts.reused - listed
    return +Counter(failed=counts.failed, cancelled=counts.cancelled, not_downloaded=lacking)


def _places(
    sizes: Iterable[tuple[int, int]],
    rows: Rows,
    repeated: NDArray[np.bool_],
    extended: NDArray[np.bool_],
    hashed: NDArray[np.bool_],
) -> Iterator[ShardPlace]:
    """Each shard, of so many images and rows, with what is known of its own images alone."""
    first_image = first_segment = begin = 0
    for shard, (images, size) in enumerate(sizes):
        here = slice(begin, begin + size)
        numbers = rows["number"][here].astype(np.int64) + first_image
        stems: dict[int, Callable[[str], str]] = dict.fromkeys(numbers[extended[here]].tolist(), stem_with_extension)
        stems |= dict.fromkeys(numbers[hashed[here]].tolist(), stem_with_digest)
        yield ShardPlace(shard, first_image, first_segment, frozenset(numbers[repeated[here]].tolist()), stems)
        first_image += images
        first_segment += int(rows["segments"][here].sum())
        begin += size


def _stems(rows: Rows, repeated: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images need their extension in their stem, and which a digest too, since others have that stem as well."""
    stems = rows["stem"]
    extended = np.zeros(len(stems), bool)
    extended[~repeated] = _shared(stems[~repeated])
    final = np.where(extended, rows["longer"], stems)
    hashed = np.zeros(len(stems), bool)
    hashed[~repeated] = _shared(final[~repeated])
    hashed &= extended
    return extended & ~hashed, hashed


def _groups(digests: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places in the order of their digests, and for each but the first whether it has the digest of the one before."""
    order = np.lexsort((np.arange(len(digests)), digests["low"], digests["high"]))
    ordered = digests[order]
    return order, ordered[1:] == ordered[:-1]


def _later(digests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether each came before."""
    order, same = _groups(digests)
    found = np.zeros(len(digests), bool)
    found[order[1:][same]] = True
    return found


def _shared(digests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether each is another one's too."""
    order, same = _groups(digests)
    found = np.zeros(len(digests), bool)
    found[order[1:][same]] = found[order[:-1][same]] = True
    return found
