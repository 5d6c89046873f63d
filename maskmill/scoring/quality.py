"""Panoptic quality: PQ, the mean IoU of matched segments times how many are matched.

Kirillov et al., Panoptic Segmentation, CVPR 2019, https://arxiv.org/abs/1801.00868. Void and crowd are as in
panopticapi, to whose figures these are equal (`tests/unit/test_quality.py`), but for one rule: of several crowds of a
class in an image it knows the last alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


class Tally:
    """For each class: the sum of the IoU of its matches, how many there are, and how many false and missed ones.

    Bounded by the number of classes, however many images are added.
    """

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros((classes, 4))

    def add(self, found: Matches) -> None:
        """Count the segments of one image."""
        for category, iou in found.matched:
            self.sums[category, :2] += iou, 1
        for category in found.false:
            self.sums[category, 2] += 1
        for category in found.missed:
            self.sums[category, 3] += 1

    def __iadd__(self, other: Tally) -> Tally:
        self.sums += other.sums
        return self


@dataclass(frozen=True)
class Quality:
    """PQ = SQ × RQ of one class, or the means over `classes` of them; None where no segment was seen."""

    pq: float | None
    sq: float | None
    rq: float | None
    classes: int


def class_quality(sums: NDArray[np.float64]) -> Quality:
    """The quality of one class from its row of a tally."""
    iou, matched, false, missed = sums.tolist()
    weight = matched + 0.5 * false + 0.5 * missed
    if not weight:
        return Quality(None, None, None, 0)
    return Quality(iou / weight, iou / matched if matched else 0.0, matched / weight, 1)


def mean_quality(tally: Tally, chosen: Iterable[int] | None = None) -> Quality:
    """The means over the chosen classes (None: all), of which each that was seen counts the same."""
    rows = tally.sums if chosen is None else tally.sums[list(chosen)]
    seen = [class_quality(row) for row in rows[rows.any(axis=1)]]
    if not seen:
        return Quality(None, None, None, 0)
    pq, sq, rq = (sum(getattr(each, name) for each in seen) / len(seen) for name in ("pq", "sq", "rq"))
    return Quality(pq, sq, rq, len(seen))
