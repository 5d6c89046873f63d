"""EoMT: masks are resized to the model's square, cropped to the image in it, and then to the image's own size.

Source: transformers 5.23, `image_processing_eomt.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.eomt.image_processing_eomt import get_target_size

from maskmill_worker.model.postprocess.axis import Size, resized
from maskmill_worker.model.postprocess.instances import mask_scores, promising
from maskmill_worker.model.postprocess.planes import DenseMap
from maskmill_worker.model.postprocess.queries import Chosen, best_labels, enough_is_left, id_table
from maskmill_worker.model.postprocess.segments import Segments, Thresholds, id_dtype, nothing
from maskmill_worker.model.postprocess.semantic import class_scores, labelled


def panoptic(processor: Any, outputs: Any, size: Size, thresholds: Thresholds) -> Segments:
    """As `contested`, but a segment keeps only the pixels where its own probability reaches the mask threshold.

    Probabilities are taken from full-size logits, so masks come one at a time.
    """
    _refuse_patches(outputs)
    chosen = best_labels(outputs.class_queries_logits[0], thresholds.threshold)
    masks = outputs.masks_queries_logits[0]
    if not len(chosen):
        return nothing(size, masks.device)
    winner, inside, whole = _race(processor, masks, chosen, size, thresholds.mask_threshold)
    won = winner.areas(len(chosen)).cpu()
    firm = winner.labels[inside].bincount(minlength=len(chosen)).cpu()
    kept = enough_is_left(won, whole.cpu(), thresholds) & (firm > 0)
    ids = winner.paint(id_table(kept).to(masks.device)).masked_fill_(~inside, 0)
    return Segments(ids, chosen.only(kept).found())


def _race(
    processor: Any, masks: Tensor, chosen: Chosen, size: Size, threshold: float
) -> tuple[DenseMap, Tensor, Tensor]:
    """The winner of each pixel, whether its probability reaches the threshold, and the masks' areas by themselves."""
    winner = torch.zeros(size, dtype=id_dtype(len(chosen)), device=masks.device)
    inside, highest = torch.zeros_like(winner, dtype=torch.bool), masks.new_full(size, -1)
    areas = []
    for index, (query, score) in enumerate(zip(chosen.queries.tolist(), chosen.scores.to(masks.device), strict=True)):
        probability = full_size(processor, masks[query], size).sigmoid()
        within, weighted = probability >= threshold, score * probability
        better = weighted > highest
        winner.masked_fill_(better, index)
        inside, highest = torch.where(better, within, inside), torch.maximum(weighted, highest)
        areas.append(within.sum())
    return DenseMap(winner), inside, torch.stack(areas)


def instance(processor: Any, outputs: Any, size: Size, thresholds: Thresholds) -> Segments:
    """As `stacked`, but with one label for each query, and from full-size logits, which come one at a time."""
    _refuse_patches(outputs)
    scores, labels = outputs.class_queries_logits[0].cpu().softmax(-1)[:, :-1].max(-1)
    chosen = promising(Chosen(torch.arange(len(scores)), labels, scores), thresholds.threshold)
    masks = outputs.masks_queries_logits[0]
    ids = torch.zeros(size, dtype=id_dtype(len(chosen)), device=masks.device)
    kept, products = [], []
    for index, (query, score) in enumerate(zip(chosen.queries.tolist(), chosen.scores, strict=True)):
        logits = full_size(processor, masks[query], size)
        product = score * mask_scores(logits[None])[0]
        if (logits > 0).any() and product.item() >= thresholds.threshold:
            kept.append(index)
            products.append(product.item())
            ids.masked_fill_(logits > 0, len(kept))
    found = Chosen(chosen.queries[kept], chosen.labels[kept], torch.tensor(products)).found()
    return Segments(ids, found)


def _refuse_patches(outputs: Any) -> None:
    """Raise what the stock functions raise for an image in several patches, which have a row of outputs each."""
    if len(outputs.masks_queries_logits) > 1:
        raise IndexError("EoMT cut the image into patches, from which it makes semantic segments only")


def full_size(processor: Any, logits: Tensor, size: Size) -> Tensor:
    """One mask's logits (h × w) at the image's size (H × W)."""
    square = resized(logits[None], get_target_size(processor.size), antialias=False)
    height, width = inner_size(processor, size)
    return resized(square[:, :height, :width], size, antialias=False)[0]


def inner_size(processor: Any, size: Size) -> Size:
    """The image's size as the model sees it, before padding or cutting."""
    edges = processor.size
    height, width = get_size_with_aspect_ratio(size, edges["shortest_edge"], edges["longest_edge"])
    return height, width


def semantic(processor: Any, outputs: Any, size: Size, _thresholds: Thresholds) -> Segments:
    """Scores of the labels in the model's square; an image that was cut into patches has a row of outputs for each.

    Without patches the padding is not cropped, which is what the stock function does too.
    """
    masks = interpolate(outputs.masks_queries_logits, get_target_size(processor.size), mode="bilinear")
    scores = class_scores(outputs.class_queries_logits.softmax(-1)[..., :-1], masks.sigmoid())
    if outputs.patch_offsets:
        return labelled(_merged(scores, outputs.patch_offsets, inner_size(processor, size), size), size)
    return labelled(scores[0], size)


def _merged(scores: Tensor, offsets: Sequence[Sequence[int]], inner: Size, size: Size) -> Tensor:
    """The mean of the patches' scores (P × C × S × S) where they overlap along the longer side (C × h × w)."""
    dim = 1 if size[0] > size[1] else 2
    total = torch.zeros((scores.shape[1], *inner), device=scores.device)
    count = torch.zeros_like(total[:1])
    for patch, (_, start, end) in zip(scores, offsets, strict=True):
        total.narrow(dim, int(start), int(end) - int(start)).add_(patch)
        count.narrow(dim, int(start), int(end) - int(start)).add_(1)
    return total / count.clamp(min=1)
