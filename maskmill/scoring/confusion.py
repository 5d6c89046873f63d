"""Which class each pixel has and should have: the confusion matrix, and IoU by class summed over all images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from maskmill.scoring.overlaps import Ints, Overlaps, Part

NO_CLASS = -1


class Confusion:
    """`pixels[true, predicted]`, of numbers of classes; `NO_CLASS` where a side has none. Void is left out.

    A crowd's pixels are of its class. It grows with the pairs of classes that occur, not with images.
    """

    def __init__(self) -> None:
        self.pixels = defaultdict[tuple[int, int], int](int)

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
        for pair, pixels in other.pixels.items():
            self.pixels[pair] += pixels
        return self

    def ious(self) -> dict[int, float]:
        """The IoU of each class that has pixels on either side, in order."""
        true, predicted = self.totals()
        found = {}
        for each in sorted((true.keys() | predicted.keys()) - {NO_CLASS}):
            shared = self.pixels.get((each, each), 0)
            found[each] = shared / (true[each] + predicted[each] - shared)
        return found

    def accuracy(self, chosen: Collection[int]) -> float | None:
        """The share of pixels that have the right class, of those whose true one is among the chosen."""
        of_them = [(true == predicted, pixels) for (true, predicted), pixels in self.pixels.items() if true in chosen]
        total = sum(pixels for _, pixels in of_them)
        return sum(pixels for right, pixels in of_them if right) / total if total else None

    @property
    def total(self) -> int:
        """All pixels that were counted."""
        return sum(self.pixels.values())

    def agreement(self) -> float | None:
        """The share of all pixels that have the same class on both sides, or none on both."""
        same = sum(pixels for (true, predicted), pixels in self.pixels.items() if true == predicted)
        total = self.total
        return same / total if total else None

    def totals(self) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """Pixels of each class on the one side, and on the other; 0 of one that is not there."""
        true, predicted = defaultdict[int, int](int), defaultdict[int, int](int)
        for (true_class, predicted_class), pixels in self.pixels.items():
            true[true_class] += pixels
            predicted[predicted_class] += pixels
        return true, predicted

    def mistaken(self) -> Iterator[tuple[int, int, int]]:
        """True class, predicted class and pixels where they differ, the most first."""
        for (true, predicted), pixels in sorted(self.pixels.items(), key=lambda item: -item[1]):
            if true != predicted:
                yield true, predicted, pixels


def mean_iou(ious: Mapping[int, float], chosen: Collection[int]) -> float | None:
    """The mean over those of the chosen classes that were seen."""
    seen = [iou for each, iou in ious.items() if each in chosen]
    return sum(seen) / len(seen) if seen else None


def _classes(parts: Sequence[Part]) -> Ints:
    """The class of each place, and of place -1: none."""
    return np.array([*(part.category for part in parts), NO_CLASS], np.int64)
