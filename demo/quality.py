"""Panoptic quality of predicted segments against true ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmill.scoring.overlaps import Part, Side, overlaps
from maskmill.scoring.quality import Matches, Tally, matches


class Panoptic(NamedTuple):
    """Segments of one image: an int32 (H, W) map of ids, 0 for nothing, and the label of every id."""

    segment_map: NDArray[np.int32]
    labels: Mapping[int, str]


def class_qualities(pairs: Iterable[tuple[Panoptic, Panoptic]]) -> dict[str, float]:
    """Panoptic quality per class over (truth, predicted) pairs of equal map shapes, for classes seen in either."""
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    found = [_matches(truth, predicted, numbers) for truth, predicted in pairs]
    tally = Tally()
    for each in found:
        tally.add(each)
    return {label: tally[number].quality.pq or 0.0 for label, number in sorted(numbers.items())}


def _matches(truth: Panoptic, predicted: Panoptic, numbers: Mapping[str, int]) -> Matches:
    sides = [
        Side.of(each.segment_map, {segment_id: Part(numbers[label]) for segment_id, label in each.labels.items()})
        for each in (truth, predicted)
    ]
    return matches(overlaps(*sides), sides[0].parts, sides[1].parts)


def panoptic_quality(pairs: Iterable[tuple[Panoptic, Panoptic]]) -> float:
    """Panoptic quality, 0..1: the mean of `class_qualities`, 0 where nothing was seen."""
    qualities = list(class_qualities(pairs).values())
    return sum(qualities) / len(qualities) if qualities else 0.0


def panoptic_of_result(result: Iterable[Mapping[str, Any]], shape: tuple[int, int]) -> Panoptic:
    """The `image-segmentation` pipeline's answer for one image of `shape` (height, width) as a `Panoptic`.

    Each entry has a `label` and a `mask` image (mode L, non-zero inside); masks of one image do not overlap.
    """
    segment_map = np.zeros(shape, dtype=np.int32)
    labels = {}
    for segment_id, entry in enumerate(result, start=1):
        segment_map[np.asarray(entry["mask"]) > 0] = segment_id
        labels[segment_id] = str(entry["label"])
    return Panoptic(segment_map, labels)
