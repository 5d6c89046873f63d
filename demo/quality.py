"""Panoptic quality of predicted segments against true ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MATCH_IOU = 0.5
"""A predicted and a true segment of one class match above this; then a match is unique (the paper, section 4.1)."""


class Panoptic(NamedTuple):
    """Segments of one image: an int32 (H, W) map of ids, 0 for nothing, and the label of every id."""

    segment_map: NDArray[np.int32]
    labels: Mapping[int, str]


@dataclass
class _Tally:
    """What one class has seen: the IoU of its matches, and how many segments of each kind."""

    ious: list[float] = field(default_factory=list)
    truths: int = 0
    predictions: int = 0

    def quality(self) -> float:
        """Sum of matched IoU over (matches + half the misses + half the false ones)."""
        return sum(self.ious) / (0.5 * (self.truths + self.predictions))


def _matched_ious(truth: Panoptic, predicted: Panoptic) -> Iterable[tuple[str, float]]:
    """Label and IoU of each pair of one class that overlaps above `MATCH_IOU`."""
    true_areas, predicted_areas = _areas(truth.segment_map), _areas(predicted.segment_map)
    shared = _areas((truth.segment_map.astype(np.int64) << 32) + predicted.segment_map)
    for both, area in shared.items():
        true_id, predicted_id = both >> 32, both & 0xFFFFFFFF
        label = truth.labels.get(true_id)
        if label is None or predicted.labels.get(predicted_id) != label:
            continue
        iou = area / (true_areas[true_id] + predicted_areas[predicted_id] - area)
        if iou > MATCH_IOU:
            yield label, iou


def _areas(ids: NDArray[np.integer[Any]]) -> dict[int, int]:
    """How often each id occurs."""
    found, counts = np.unique(ids, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def class_qualities(pairs: Iterable[tuple[Panoptic, Panoptic]]) -> dict[str, float]:
    """Panoptic quality per class over (truth, predicted) pairs of equal map shapes, for classes seen in either.

    Kirillov et al., Panoptic Segmentation, CVPR 2019, https://arxiv.org/abs/1801.00868, equation 1.
    """
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for truth, predicted in pairs:
        for label in truth.labels.values():
            tallies[label].truths += 1
        for label in predicted.labels.values():
            tallies[label].predictions += 1
        for label, iou in _matched_ious(truth, predicted):
            tallies[label].ious.append(iou)
    return {label: tally.quality() for label, tally in sorted(tallies.items())}


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
