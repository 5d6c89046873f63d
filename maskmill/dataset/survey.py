"""What a whole job has, before its first mask is read: numbers of images and segments, labels, and equal names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class ShardSurvey:
    """One shard's numbers. `names`, `stems` and `longer` (stems with extension) are digests of its images in order."""

    outcomes: int
    numbers: NDArray[np.int32]
    segments: NDArray[np.int32]
    left_out: Counter[str]
    labels: dict[int, str]
    names: bytes
    stems: bytes
    longer: bytes

    @classmethod
    def of(cls, dataset: Dataset, shard: int) -> ShardSurvey:
        """Read the shard's report and count."""
        outcomes = dataset.source.outcomes(shard)
        numbers, segments, left_out = list[int](), list[int](), Counter[str]()
        labels: dict[int, str] = {}
        names, stems, longer = bytearray(), bytearray(), bytearray()
        for number, outcome in enumerate(outcomes):
            for segment in outcome.segments or ():
                labels.setdefault(segment.label_id, segment.title)
            if outcome.has_mask:
                image = dataset.image(outcome, number)
                numbers.append(number)
                segments.append(len(image.segments))
                left_out += image.left_out
                names += digest_of(image.name)
                stems += digest_of(plain_stem(image.name))
                longer += digest_of(stem_with_extension(image.name))
        return cls(
            outcomes=len(outcomes),
            numbers=np.array(numbers, np.int32),
            segments=np.array(segments, np.int32),
            left_out=left_out,
            labels=labels,
            names=bytes(names),
            stems=bytes(stems),
            longer=bytes(longer),
        )


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
        shards = list(pool.map(ShardSurvey.of, range(dataset.source.shards)))
        labels = {label_id: title for each in reversed(shards) for label_id, title in each.labels.items()}
        labels |= dataset.source.labels
        subtask = dataset.source.record.spec.subtask
        dataset.selection.check(sorted(set(labels.values())), subtask)
        repeated = _later(_joined(each.names for each in shards))
        extended, hashed = _stems(shards, repeated)
        sizes = [len(each.numbers) for each in shards]
        segments = np.concatenate([np.empty(0, np.int64), *(each.segments for each in shards)])
        segments[repeated] = 0
        return cls(
            places=tuple(_places(shards, sizes, segments, repeated, extended, hashed)),
            images=len(segments) - int(repeated.sum()),
            segments=int(segments.sum()),
            repeated=int(repeated.sum()),
            same_stem=int((extended | hashed).sum()),
            not_masked=_not_masked(dataset.source.manifest.counts, sum(len(each.numbers) for each in shards)),
            left_out=sum((each.left_out for each in shards), Counter()),
            classes=Classes.of(labels, dataset.selection, subtask),
        )


def _not_masked(counts: Counts, listed: int) -> Counter[str]:
    """Images of the job that are not in the dataset: by status, and those whose mask a folder lacks."""
    lacking = counts.stored + counts.reused - listed
    return +Counter(failed=counts.failed, cancelled=counts.cancelled, not_downloaded=lacking)


def _places(
    shards: Sequence[ShardSurvey],
    sizes: Sequence[int],
    segments: NDArray[np.int64],
    repeated: NDArray[np.bool_],
    extended: NDArray[np.bool_],
    hashed: NDArray[np.bool_],
) -> Iterator[ShardPlace]:
    """Each shard, with what is known of its own images alone."""
    first_image = first_segment = begin = 0
    for index, (shard, size) in enumerate(zip(shards, sizes, strict=True)):
        numbers = shard.numbers.astype(np.int64) + first_image
        here = slice(begin, begin + size)
        stems: dict[int, Callable[[str], str]] = dict.fromkeys(numbers[extended[here]].tolist(), stem_with_extension)
        stems |= dict.fromkeys(numbers[hashed[here]].tolist(), stem_with_digest)
        yield ShardPlace(index, first_image, first_segment, frozenset(numbers[repeated[here]].tolist()), stems)
        first_image += shard.outcomes
        first_segment += int(segments[here].sum())
        begin += size


def _stems(shards: Sequence[ShardSurvey], repeated: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images need their extension in their stem, and which a digest too, since others have that stem as well."""
    stems, longer = _joined(each.stems for each in shards), _joined(each.longer for each in shards)
    extended = np.zeros(len(stems), bool)
    extended[~repeated] = _shared(stems[~repeated])
    final = np.where(extended, longer, stems)
    hashed = np.zeros(len(stems), bool)
    hashed[~repeated] = _shared(final[~repeated])
    hashed &= extended
    return extended & ~hashed, hashed


def _joined(parts: Iterable[bytes]) -> NDArray[np.void]:
    return np.frombuffer(b"".join(parts), DIGEST)


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
