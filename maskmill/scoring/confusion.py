"""Which class each pixel has and should have: the confusion matrix, and IoU by class summed over all images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set

import numpy as np

from maskmill.scoring.overlaps import Ints, Overlaps, Part

NO_CLASS = -1


class Confusion:
    """`pixels[true, predicted]`, of numbers of classes; `NO_CLASS` where a side has none. Void is left out.

    A crowd's pixels are of its class. It grows with the pairs of classes that occur, not with images.
    """

    def __init__(self) -> None:
        self.pixels = Counter[tuple[int, int]]()

    def add(self, overlaps: Overlaps, true: Sequence[Part], predicted: Sequence[Part], *, void: bool) -> None:
        """Count the pixels of one image."""
        kept = overlaps.true >= 0 if void else slice(None)
        pairs = zip(
            _classes(true)[overlaps.true[kept]].tolist(),
            _classes(predicted)[overlaps.predicted[kept]].tolist(),
            overlaps.pixels[kept].tolist(),
            strict=True,
        )
        for true_class, predicted_class, pixels in pairs:
            self.pixels[true_class, predicted_class] += pixels

    def __iadd__(self, other: Confusion) -> Confusion:
        self.pixels.update(other.pixels)
        return self

    def ious(self, classes: int) -> list[float | None]:
        """The IoU of each class; None of one that has no pixel on either side."""
        true, predicted = self.totals(classes)
        shared = [self.pixels[each, each] for each in range(classes)]
        union = [true[each] + predicted[each] - shared[each] for each in range(classes)]
        return [shared[each] / union[each] if union[each] else None for each in range(classes)]

    def accuracy(self, chosen: Set[int]) -> float | None:
        """The share of pixels that have the right class, of those whose true one is among the chosen."""
        of_them = [(true == predicted, pixels) for (true, predicted), pixels in self.pixels.items() if true in chosen]
        total = sum(pixels for _, pixels in of_them)
        return sum(pixels for right, pixels in of_them if right) / total if total else None

    def agreement(self) -> float | None:
        """The share of all pixels that have the same class on both sides, or none on both."""
        same = sum(pixels for (true, predicted), pixels in self.pixels.items() if true == predicted)
        return same / self.pixels.total() if self.pixels.total() else None

    def totals(self, classes: int) -> tuple[list[int], list[int]]:
        """Pixels of each class on the one side, and on the other."""
        true, predicted = [0] * (classes + 1), [0] * (classes + 1)
        for (true_class, predicted_class), pixels in self.pixels.items():
            true[true_class] += pixels
            predicted[predicted_class] += pixels
        return true[:-1], predicted[:-1]

    def mistaken(self) -> Iterator[tuple[int, int, int]]:
        """True class, predicted class and pixels where they differ, the most first."""
        for (true, predicted), pixels in self.pixels.most_common():
            if true != predicted:
                yield true, predicted, pixels


def mean_iou(ious: Sequence[float | None]) -> float | None:
    """The mean over the classes that were seen."""
    seen = [iou for iou in ious if iou is not None]
    return sum(seen) / len(seen) if seen else None


def _classes(parts: Sequence[Part]) -> Ints:
    """The class of each place, and of place -1: none."""
    return np.array([*(part.category for part in parts), NO_CLASS], np.int64)
