"""Panoptic quality: PQ, the mean IoU of matched segments times how many are matched.

Kirillov et al., Panoptic Segmentation, CVPR 2019, https://arxiv.org/abs/1801.00868. Void and crowd are as in
panopticapi, to whose figures these are equal (`tests/unit/test_quality.py`), but for one rule: of several crowds of a
class in an image it knows the last alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.scoring.overlaps import Ints, Overlaps, Part

MATCH_IOU = 0.5
"""A predicted and a true segment of one class match above this; then a match is unique (the paper, section 4.1)."""

IGNORED_SHARE = 0.5
"""A predicted segment with more of itself in void and crowds of its class is neither right nor wrong."""


@dataclass(frozen=True)
class Matches:
    """What became of an image's segments: classes of those that match, with their IoU, are missed, and are false."""

    matched: tuple[tuple[int, float], ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]

    @property
    def equal(self) -> bool:
        """Whether both sides are the same, pixel by pixel."""
        return not (self.missed or self.false) and all(iou == 1 for _, iou in self.matched)


def matches(overlaps: Overlaps, true: Sequence[Part], predicted: Sequence[Part]) -> Matches:
    """Which of the segments match."""
    true_class, crowd = _classes(true), np.array([part.crowd for part in true], bool)
    predicted_class = _classes(predicted)
    pairs = list(_pairs(overlaps, true_class, crowd, predicted_class))
    missed, false = ~crowd, ~_ignored(overlaps, true_class, crowd, predicted_class)
    for row, column, _ in pairs:
        missed[row] = false[column] = False
    return Matches(
        tuple((true[row].category, iou) for row, _, iou in pairs),
        tuple(true_class[missed].tolist()),
        tuple(predicted_class[false].tolist()),
    )


def _classes(parts: Sequence[Part]) -> Ints:
    return np.array([part.category for part in parts], np.int64)


def _pairs(
    overlaps: Overlaps, true_class: Ints, crowd: NDArray[np.bool_], predicted_class: Ints
) -> Iterable[tuple[int, int, float]]:
    """Segments that match; the best pairs first where true masks overlap, so that each segment has one match."""
    both = (overlaps.true >= 0) & (overlaps.predicted >= 0)
    rows, columns, pixels = overlaps.true[both], overlaps.predicted[both], overlaps.pixels[both]
    union = overlaps.true_areas[rows] + overlaps.predicted_areas[columns] - pixels - overlaps.void[columns]
    iou = pixels / union
    kept = (iou > MATCH_IOU) & (true_class[rows] == predicted_class[columns]) & ~crowd[rows]
    taken: tuple[set[int], set[int]] = set(), set()
    for row, column, value in sorted(
        zip(rows[kept].tolist(), columns[kept].tolist(), iou[kept].tolist(), strict=True), key=lambda pair: -pair[2]
    ):
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
            yield row, column, value


def _ignored(
    overlaps: Overlaps, true_class: Ints, crowd: NDArray[np.bool_], predicted_class: Ints
) -> NDArray[np.bool_]:
    """Predicted segments that count for nothing where they have no match, those without a pixel among them."""
    uncounted = overlaps.void.copy()
    both = (overlaps.true >= 0) & (overlaps.predicted >= 0)
    rows, columns, pixels = overlaps.true[both], overlaps.predicted[both], overlaps.pixels[both]
    of_crowd = crowd[rows] & (true_class[rows] == predicted_class[columns])
    np.add.at(uncounted, columns[of_crowd], pixels[of_crowd])
    areas = overlaps.predicted_areas
    ignored: NDArray[np.bool_] = (areas == 0) | (uncounted > IGNORED_SHARE * areas)
    return ignored


@dataclass(frozen=True)
class Quality:
    """PQ = SQ × RQ of one class, or the means over `classes` of them; None where no segment was seen."""

    pq: float | None
    sq: float | None
    rq: float | None
    classes: int


@dataclass(slots=True)
class Counted:
    """One class's segments: the sum of the IoU of its matches, how many there are, and how many false and missed ones.

    >>> Counted(iou=0.8, matched=1, missed=1).quality.rq
    0.6666666666666666
    """

    iou: float = 0.0
    matched: int = 0
    false: int = 0
    missed: int = 0

    def __iadd__(self, other: Counted) -> Counted:
        self.iou += other.iou
        self.matched += other.matched
        self.false += other.false
        self.missed += other.missed
        return self

    @property
    def quality(self) -> Quality:
        """PQ, SQ and RQ of the class."""
        weight = self.matched + 0.5 * self.false + 0.5 * self.missed
        if not weight:
            return Quality(None, None, None, 0)
        return Quality(
            self.iou / weight, self.iou / self.matched if self.matched else 0.0, self.matched / weight, classes=1
        )


class Tally:
    """What was counted of each class that was seen; bounded by their number, however many images are added."""

    def __init__(self) -> None:
        self._counted = defaultdict[int, Counted](Counted)

    def __getitem__(self, category: int) -> Counted:
        """That of one class; zeros of one that no segment was of."""
        return self._counted.get(category, Counted())

    def add(self, found: Matches) -> None:
        """Count the segments of one image."""
        for category, iou in found.matched:
            counted = self._counted[category]
            counted.iou += iou
            counted.matched += 1
        for category in found.false:
            self._counted[category].false += 1
        for category in found.missed:
            self._counted[category].missed += 1

    def __iadd__(self, other: Tally) -> Tally:
        for category, counted in other._counted.items():
            self._counted[category] += counted
        return self

    def quality(self, chosen: Collection[int]) -> Quality:
        """The means over those of the chosen classes that were seen, of which each counts the same."""
        seen = [self._counted[category].quality for category in sorted(self._counted.keys() & chosen)]
        if not seen:
            return Quality(None, None, None, 0)
        pq, sq, rq = (sum(getattr(each, name) for each in seen) / len(seen) for name in ("pq", "sq", "rq"))
        return Quality(pq, sq, rq, len(seen))
