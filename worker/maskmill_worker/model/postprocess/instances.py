"""Instance segmentation where masks may overlap and a later one covers an earlier: MaskFormer and its descendants.

Source: `post_process_instance_segmentation` in `image_processing_maskformer.py` and its copies, transformers 5.23.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from maskmill_worker.model.postprocess.axis import Size
from maskmill_worker.model.postprocess.queries import Chosen
from maskmill_worker.model.postprocess.segments import Segments, Thresholds, id_dtype

ROUNDING = 1e-5
"""Far more than a mean of numbers up to 1 exceeds 1 by rounding."""


def promising(chosen: Chosen, threshold: float) -> Chosen:
    """Those that may still reach the threshold when their score is multiplied by their mask's mean probability."""
    return chosen.only(chosen.scores * (1 + ROUNDING) >= threshold)


def mask_scores(logits: Tensor) -> Tensor:
    """Mean probability inside of each mask (n × h × w), on the host."""
    inside = (logits > 0).float().flatten(1)
    return ((logits.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)).cpu()


def stacked(logits: Tensor, chosen: Chosen, size: Size, thresholds: Thresholds) -> Segments:
    """Masks (n × h × w, one for each of `chosen`) laid over one another at low resolution.

    Resizing to the nearest sample then gives what the stock functions get by resizing each mask.
    """
    rows, columns = (_nearest(few, many, logits.device) for few, many in zip(logits.shape[1:], size, strict=True))
    inside = logits > 0
    sampled = torch.zeros_like(inside[0]).index_fill_(0, rows, 1) & torch.zeros_like(inside[0]).index_fill_(
        1, columns, 1
    )
    visible = (inside & sampled).flatten(1).any(1).cpu()
    scored = Chosen(chosen.queries, chosen.labels, chosen.scores * mask_scores(logits))
    kept = visible & (scored.scores.double() >= thresholds.threshold)
    ids = torch.zeros(logits.shape[1:], dtype=id_dtype(int(kept.sum())), device=logits.device)
    for number, index in enumerate(kept.nonzero()[:, 0].tolist(), 1):
        ids.masked_fill_(inside[index], number)
    return Segments(ids.index_select(1, columns).index_select(0, rows), scored.only(kept).found())


def _nearest(samples: int, pixels: int, device: torch.device) -> Tensor:
    """The sample that `interpolate` takes for each pixel."""
    return interpolate(torch.arange(samples, device=device).float()[None, None], size=pixels, mode="nearest")[
        0, 0
    ].long()
