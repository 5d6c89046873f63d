"""Queries (a class distribution and a mask each) that compete for pixels: panoptic segmentation and DETR's instances.

Sources are the stock functions of transformers 5.23, `compute_segments` in `image_processing_detr.py` and its copies.
No label is fused: that is an argument which the pipeline leaves at its default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskmill_worker.model.postprocess.planes import Planes
from maskmill_worker.model.postprocess.segments import Found, Segments, Thresholds, id_dtype


@dataclass(frozen=True)
class Chosen:
    """Queries that stay in: their indices, labels and scores, all on the host."""

    queries: Tensor
    labels: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.queries)

    def only(self, mask: Tensor) -> Chosen:
        """Those where the mask is true."""
        return Chosen(self.queries[mask], self.labels[mask], self.scores[mask])

    def found(self) -> list[Found]:
        """These as segments with ids from 1, their scores rounded as the stock functions round them."""
        pairs = zip(self.labels.tolist(), self.scores.tolist(), strict=True)
        return [(label, number, round(score, 6)) for number, (label, score) in enumerate(pairs, 1)]


def best_labels(logits: Tensor, threshold: float) -> Chosen:
    """Each query with its best label, if that is not the last, 'no object', and its score is above the threshold.

    The logits (Q × C+1) go to the host first, where the stock pipeline does all its arithmetic.
    """
    scores, labels = logits.cpu().softmax(-1).max(-1)
    kept = labels.ne(logits.shape[-1] - 1) & (scores > threshold)
    return Chosen(torch.arange(len(logits)), labels, scores).only(kept)


def top_pairs(logits: Tensor) -> Chosen:
    """The Q best pairs of query and label (a query may appear with several), in the order that `topk` gives them."""
    scores = logits.cpu().softmax(-1)[:, :-1]
    values, pairs = scores.flatten().topk(len(logits), sorted=False)
    return Chosen(pairs.div(scores.shape[1], rounding_mode="floor"), pairs % scores.shape[1], values)


def contested(planes: Planes, chosen: Chosen, thresholds: Thresholds) -> Segments:
    """Every pixel to the plane with the highest weighted value; planes that keep too little of their area drop out.

    `planes` are those of the chosen queries, at least one, scaled by their scores.
    """
    labels, whole = planes.contest(thresholds.mask_threshold)
    won, whole = labels.areas(len(chosen)).cpu(), whole.cpu()
    kept = enough_is_left(won, whole, thresholds)
    return Segments(labels.paint(id_table(kept).to(planes.values.device)), chosen.only(kept).found())


def enough_is_left(won: Tensor, whole: Tensor, thresholds: Thresholds) -> Tensor:
    """Which planes won pixels, and more of their `whole` area than the threshold (compared in double, as in Python)."""
    return (won > 0) & (whole > 0) & ((won / whole).double() > thresholds.overlap_mask_area_threshold)


def id_table(kept: Tensor) -> Tensor:
    """For each label its id: the kept ones are numbered from 1, the others are 0."""
    return torch.where(kept, kept.cumsum(0), 0).to(id_dtype(int(kept.sum())))
