"""Semantic segmentation: every pixel to the label with the highest score."""

from __future__ import annotations

import torch
from torch import Tensor

from maskmill_worker.model.postprocess.axis import Size
from maskmill_worker.model.postprocess.planes import Planes
from maskmill_worker.model.postprocess.segments import Segments, id_dtype


def class_scores(distributions: Tensor, probabilities: Tensor) -> Tensor:
    """Scores of the labels (B × C × h × w): distributions (B × Q × C) weighted by probabilities (B × Q × h × w)."""
    return torch.einsum("bqc, bqhw -> bchw", distributions, probabilities)


def labelled(scores: Tensor, size: Size, *, antialias: bool = False) -> Segments:
    """One segment for each label (of scores C × h × w) that wins a pixel; its id is the label plus one."""
    winners = Planes(scores, size, antialias=antialias).winners()
    present = winners.areas(len(scores)).nonzero()[:, 0].tolist()
    table = torch.arange(1, len(scores) + 1, dtype=id_dtype(len(scores)), device=scores.device)
    return Segments(winners.paint(table), [(label, label + 1, None) for label in present])
