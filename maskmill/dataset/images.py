"""A job's images that have a mask, shard by shard, in the order of submission."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from maskmill.addresses import Address
from maskmill.dataset.selection import Selection
from maskmill.dataset.source import Source, SourceMaker
from maskmill.errors import ImageError, InvalidRecord, MaskmillError, MaskReplaced, ObjectNotFound, StoreRefused
from maskmill.jobs.outcomes import Paired
from maskmill.masks.segment_map import Mask, SegmentMap
from maskmill.masks.stored import read_mask
from maskmill.schema import Outcome, Segment
from maskmill.storage.ahead import map_ahead

if TYPE_CHECKING:
    from maskmill.dataset.originals import Originals

THREADS = 8
"""Masks that a process reads at a time; what a request takes is mostly waiting."""

OF_ONE_MASK = (MaskReplaced, ObjectNotFound, StoreRefused, InvalidRecord)
"""What is wrong with one mask; any other error ends the work, which can be gone on with."""

OF_ONE_IMAGE = (*OF_ONE_MASK, ImageError)
"""Errors that cost one image, where images are read, too."""

_UNFIT = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f\\\ud800-\udfff]")
"""What a relative path must not have to be a file's name anywhere: empty parts, dots alone, controls, a backslash."""

DIGEST_BYTES = 16

Answer = TypeVar("Answer")


def plain_stem(name: str) -> str:
    """`photos/cat.jpg` without its extension, `photos/cat`: what readers pair files by."""
    return str(PurePosixPath(name).with_suffix(""))


@dataclass(frozen=True)
class LabelledImage:
    """One image: `number` is its place in the job from 0, failed images counted; `segments` are those that count.

    `left_out` says how many segments do not count, by reason. `stem` is the name without extension, for files that are
    paired by it: unique in the job. `whole_address` has the secrets that the image is read
    with, if one asked for them.
    """

    number: int
    name: str
    outcome: Outcome
    segments: tuple[Segment, ...]
    left_out: Counter[str] = field(repr=False)
    source: Source = field(repr=False, compare=False)
    stem: str
    whole_address: str = field(repr=False)

    @property
    def uri(self) -> Address:
        """Where the image is, without passwords and signatures."""
        return self.outcome.uri

    @property
    def width(self) -> int:
        """In pixels, after its EXIF orientation."""
        return self.outcome.width or 0

    @property
    def height(self) -> int:
        """In pixels, after its EXIF orientation."""
        return self.outcome.height or 0

    @cached_property
    def png(self) -> bytes:
        """The mask's file. Fetched once; raises one of `OF_ONE_MASK` where it cannot be had, and `StoreUnavailable`."""
        return self.source.mask(self.outcome.mask_key or "")

    @cached_property
    def mask(self) -> Mask:
        """The whole segment map and its header, checked.

        Raises one of `OF_ONE_MASK` where the mask is missing, damaged or another's, and `StoreUnavailable`.
        """
        mask = read_mask(self.png, self.outcome)
        if mask.size != (self.width, self.height):
            raise InvalidRecord(f"{self.outcome.mask_key} is not {self.width} × {self.height} pixels large", "")
        return mask

    @cached_property
    def ids(self) -> SegmentMap:
        """H × W, pixel = segment id, 0 = none of the segments that count; raises as `mask` does."""
        ids = self.mask.ids
        if not self.left_out:
            return ids
        table = np.zeros(int(ids.max(initial=0)) + 1, ids.dtype)
        kept = [segment.id for segment in self.segments if segment.id < len(table)]
        table[kept] = kept
        return table.take(ids)


@dataclass(frozen=True)
class ShardPlace:
    """A shard and what is before it in the job: so many images, and segments that count.

    `repeats` are numbers of its images whose name came before, `stems` how those are called whose stem others have.
    """

    shard: int
    first_image: int = 0
    first_segment: int = 0
    repeats: frozenset[int] = frozenset()
    stems: Mapping[int, Callable[[str], str]] = field(default_factory=dict)
    whole_addresses: bool = False


@dataclass(frozen=True)
class Dataset:
    """A job that has ended, and which of its segments count.

    `Dataset(StoredJob.open(settings, out, job), Selection(min_score=0.8))`
    """

    source: Source
    selection: Selection = field(default_factory=Selection)

    @classmethod
    def opener(cls, make: SourceMaker, selection: Selection) -> Callable[[], Dataset]:
        """What opens the same in another process."""
        return partial(_open, make, selection)

    @cached_property
    def originals(self) -> Originals:
        """Reads the job's images themselves, of this process."""
        from maskmill.dataset.originals import Originals  # and with it an HTTP client

        return Originals(self.source.settings, self.source.record)

    def images_at(self, place: ShardPlace) -> Iterator[LabelledImage]:
        """The shard's images that have a mask, but for names that came before; stems are unique in the job."""
        for number, (outcome, reference) in enumerate(self._paired(place), place.first_image):
            if outcome.has_mask and number not in place.repeats:
                whole = (reference.uri if reference else outcome.uri).reveal()
                yield self.image(outcome, number, place.stems.get(number, plain_stem), whole)

    def image(
        self, outcome: Outcome, number: int = 0, stem: Callable[[str], str] = plain_stem, whole: str = ""
    ) -> LabelledImage:
        """The image that has this outcome."""
        segments, left_out = self.selection.chosen(outcome.segments or ())
        name = self.name_of(outcome)
        return LabelledImage(number, name, outcome, segments, left_out, self.source, stem(name), whole)

    def _paired(self, place: ShardPlace) -> Iterable[Paired]:
        if place.whole_addresses:
            return self.source.paired(place.shard)
        return ((outcome, None) for outcome in self.source.outcomes(place.shard))

    def name_of(self, outcome: Outcome) -> str:
        """The image's path below the job's root, `photos/cat.jpg`; of one elsewhere its mask's: `s3/bucket/cat.jpg`."""
        path = self._path_of(outcome)
        if path is None or _UNFIT.search(path):
            return (outcome.mask_key or "").removeprefix("masks/").removesuffix(".png")
        return path

    def renames(self, image: LabelledImage) -> bool:
        """Whether an image below the job's root is not called by its path there: no file may be, everywhere."""
        return self._path_of(image.outcome) not in (None, image.name)

    def _path_of(self, outcome: Outcome) -> str | None:
        root = f"{(self.source.record.root or '').rstrip('/')}/"
        below = self.source.record.root and outcome.uri.startswith(root)
        return str(outcome.uri).removeprefix(root) if below else None


def _open(make: SourceMaker, selection: Selection) -> Dataset:
    return Dataset(make(), selection)


def stem_with_extension(name: str) -> str:
    """`photos/cat_jpg`, beside `photos/cat_png`."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}_{path.suffix[1:]}" if path.suffix else path.name))


def stem_with_digest(name: str) -> str:
    """`photos/cat_jpg-9f86d081`, where there is a `photos/cat_jpg.gif` too."""
    return f"{stem_with_extension(name)}-{digest_of(name).hex()[:8]}"


def digest_of(text: str) -> bytes:
    """16 bytes; two of a hundred million texts share them with a chance of 10^-23."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()


def ahead(
    images: Iterator[LabelledImage], work: Callable[[LabelledImage], Answer]
) -> Iterator[tuple[LabelledImage, Answer | MaskmillError]]:
    """Each image with what `work` makes of it, or with the error that it alone costs; masks are read in threads."""

    def attempt(image: LabelledImage) -> tuple[LabelledImage, Answer | MaskmillError]:
        try:
            return image, work(image)
        except OF_ONE_IMAGE as error:
            return image, error

    return map_ahead(attempt, images, THREADS)
