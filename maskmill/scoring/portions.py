"""One part of a score, in a process: a shard's images, or images of the truth that the job does not have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from maskmill.dataset.images import OF_ONE_IMAGE, THREADS, Dataset, LabelledImage, ShardPlace
from maskmill.errors import ImageError, MaskmillError, TruthUnusable
from maskmill.masks.segment_map import SegmentMap
from maskmill.schema import PROBLEMS_KEPT, ImageProblem
from maskmill.scoring.classes import ClassTable
from maskmill.scoring.confusion import Confusion, mean_iou
from maskmill.scoring.overlaps import Masks, Overlaps, Part, Side, overlaps, overlaps_of_masks
from maskmill.scoring.pairs import keys_of
from maskmill.scoring.quality import Matches, Tally, matches
from maskmill.scoring.scratch import PROBLEM, Row, Scratch, TrueImage
from maskmill.scoring.sides import side
from maskmill.scoring.truth.truth import Fetched, Truth
from maskmill.storage.ahead import batched, map_ahead

if TYPE_CHECKING:
    from maskmill.scoring.precision import Detections


FETCHED = 4
"""Images that a thread fetches before it hands them over: a twentieth of a pair's time went into handing over each."""


class SizesDiffer(ImageError):
    """Mask and truth of an image, or its masks in two jobs, are of different sizes."""

    code = "sizes_differ"
    cure = "Take the truth of the image as it was segmented: upright, and not resized."


@dataclass
class Portion:
    """What some images add to a score."""

    tally: Tally = field(default_factory=Tally)
    confusion: Confusion = field(default_factory=Confusion)
    detections: Detections | None = None
    rows: list[Row] = field(default_factory=list)
    problems: list[ImageProblem] = field(default_factory=list)
    not_scored: int = 0
    without_mask: Counter[str] = field(default_factory=Counter)
    without_class: Counter[str] = field(default_factory=Counter)
    without_score: int = 0
    images: int = 0

    @classmethod
    def empty(cls, max_detections: int | None = None) -> Portion:
        """Of no image yet; with `max_detections`, for AP too, which takes an extra."""
        if max_detections is None:
            return cls()
        from maskmill.scoring.precision import Detections

        return cls(detections=Detections(max_detections))

    def leave_out(self, asked: Asked, error: MaskmillError) -> None:
        """Name an image that cannot be scored."""
        problem = ImageProblem.of(asked.uri, error)
        self.problems.append(problem)
        self.not_scored += 1
        self.rows.append(Row(PROBLEM, PROBLEM, asked.number, problem.model_dump_json()))

    def add(self, other: Portion) -> None:
        """Add up, with the first problems; rows are left to who keeps them."""
        self.tally += other.tally
        self.confusion += other.confusion
        if self.detections is not None and other.detections is not None:
            self.detections += other.detections
        self.problems += other.problems[: PROBLEMS_KEPT - len(self.problems)]
        self.not_scored += other.not_scored
        self.without_mask += other.without_mask
        self.without_class += other.without_class
        self.without_score += other.without_score
        self.images += other.images


@dataclass(frozen=True)
class Asked:
    """An image to score: one that has a mask, or one of which `why_empty` says why there is none."""

    number: int
    uri: str
    true: TrueImage
    image: LabelledImage | None = None
    why_empty: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scorer(ABC):
    """What a process needs to score images, but for the jobs that it has open. No AP without `max_detections`.

    Figures of single images are those of the `chosen` classes.
    """

    table: ClassTable
    chosen: frozenset[int]
    scratch: Scratch
    max_detections: int | None = None
    of_two_sizes: ClassVar[str] = "the truth is {} pixels large, the image {}{}"

    def _images(self, dataset: Dataset, place: ShardPlace) -> Iterator[Asked]:
        """Those of a shard that the truth has."""
        outcomes = dataset.source.outcomes(place.shard)
        keys = keys_of(self.scratch, place.first_image, len(outcomes))
        for number, outcome in enumerate(outcomes, place.first_image):
            if number in keys:
                image = dataset.image(outcome, number) if outcome.has_mask else None
                why_empty = None if image else outcome.code or outcome.status.value
                yield Asked(number, str(outcome.uri), self.scratch.true_image(keys[number]), image, why_empty)

    def _portion(self, truth: Truth, images: Iterable[Asked]) -> Portion:
        """The files of masks and truth are fetched in threads; they are decoded and scored in this one."""
        portion = Portion.empty(self.max_detections)
        fetched_ahead = map_ahead(partial(_fetch, truth), batched(images, FETCHED), THREADS)
        for asked, fetched in chain.from_iterable(fetched_ahead):
            portion.images += 1
            try:
                if isinstance(fetched, MaskmillError):
                    raise fetched
                self._score(portion, asked, fetched(), asked.image.ids if asked.image else None)
            except (*OF_ONE_IMAGE, TruthUnusable) as error:
                portion.leave_out(asked, error)
        return portion

    def _score(self, portion: Portion, asked: Asked, truth: Side | Masks | None, ids: SegmentMap | None) -> None:
        """Add what becomes of one image; where it has no mask, nothing was predicted."""
        if truth is None:
            return
        shape = truth.shape if isinstance(truth, Masks) else truth.ids.shape
        if ids is None:
            ids = np.zeros(shape, np.uint8)
        elif ids.shape != shape:
            raise SizesDiffer(self.of_two_sizes.format(*_sizes(shape, ids.shape)))
        parts, scores, without_class = self._parts(asked.image)
        prediction = side(ids, parts, self.table.classes)
        if isinstance(truth, Masks):
            found, map_ = overlaps_of_masks(truth, prediction)
            pixels = overlaps(map_, prediction)
        else:
            found = pixels = overlaps(truth, prediction)
            map_ = truth
        of_pixels = Confusion()
        of_pixels.add(pixels, map_.parts, prediction.parts, void=map_.void is not None)
        result = matches(found, truth.parts, prediction.parts)
        portion.tally.add(result)
        portion.confusion += of_pixels
        portion.without_class += without_class
        if asked.why_empty:
            portion.without_mask[asked.why_empty] += 1
        if portion.detections is not None:
            portion.without_score += self._detect(portion.detections, found, truth.parts, prediction, scores)
        if row := self._row(asked, result, of_pixels):
            portion.rows.append(row)

    def _parts(
        self, image: LabelledImage | None
    ) -> tuple[list[tuple[int, Part]], dict[int, float | None], Counter[str]]:
        """The segments that are of a class, their scores, and how many of which label are of none."""
        parts, scores, without = list[tuple[int, Part]](), dict[int, float | None](), Counter[str]()
        for segment in image.segments if image else ():
            number = self.table.number(segment.title)
            if number is None:
                without[segment.title] += 1
            else:
                parts.append((segment.id, Part(number)))
                scores[segment.id] = segment.score
        return parts, scores, without

    def _detect(
        self,
        detections: Detections,
        found: Overlaps,
        true: Sequence[Part],
        prediction: Side,
        scores: dict[int, float | None],
    ) -> int:
        """Take the image's things as detections; how many of them have no score."""
        by_place = {place: scores[each] for each, place in prediction.place.items()}
        things = set(self.table.numbers(things=True))
        detections.add(found, true, prediction.parts, [by_place[n] for n in range(len(prediction.parts))], things)
        return sum(by_place[n] is None for n, part in enumerate(prediction.parts) if part.category in things)

    @abstractmethod
    def _row(self, asked: Asked, result: Matches, pixels: Confusion) -> Row | None:
        """The image alone, for those who look at the worst first; None for one that needs no look."""

    def _alone(self, result: Matches, pixels: Confusion) -> tuple[float | None, float | None]:
        """PQ and IoU of one image: the means of the classes in it."""
        tally = Tally()
        tally.add(result)
        return tally.quality(self.chosen).pq, mean_iou(pixels.ious(), self.chosen)

    def _named(self, numbers: Iterable[int]) -> dict[str, int]:
        return dict(Counter(self.table.classes[number].name for number in numbers if number in self.chosen))


def _fetch(truth: Truth, images: Iterable[Asked]) -> list[tuple[Asked, Fetched | MaskmillError]]:
    return [(asked, _fetched(truth, asked)) for asked in images]


def _fetched(truth: Truth, asked: Asked) -> Fetched | MaskmillError:
    try:
        if asked.image:
            _ = asked.image.png
        return truth.fetch(asked.true)
    except (*OF_ONE_IMAGE, TruthUnusable) as error:
        return error


def rank(value: float | None) -> float:
    """Images with nothing to be right or wrong about come last."""
    return 2.0 if value is None else value


def _sizes(true: tuple[int, ...], predicted: tuple[int, ...]) -> tuple[str, str, str]:
    turned = ": is one of the image before its EXIF orientation?" if true == predicted[::-1] else ""
    return f"{true[1]} × {true[0]}", f"{predicted[1]} × {predicted[0]}", turned
