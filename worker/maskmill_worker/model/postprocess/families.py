"""Which image processor's post-processing is known, function by function, and done here another way.

Source: transformers 5.17 to 5.24, the `post_process_*_segmentation` of each class. A processor of any other class, a
subclass too, keeps its own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from maskmill.schema import Subtask
from maskmill_worker.model.postprocess import eomt
from maskmill_worker.model.postprocess.axis import Size, resized
from maskmill_worker.model.postprocess.instances import promising, stacked
from maskmill_worker.model.postprocess.planes import Planes
from maskmill_worker.model.postprocess.queries import Chosen, best_labels, contested, top_pairs
from maskmill_worker.model.postprocess.segments import Segments, Thresholds, nothing
from maskmill_worker.model.postprocess.semantic import class_scores, labelled

MASK2FORMER_SIZE = (384, 384)
"""Mask2Former's functions first bring all masks to this size."""

Function = Callable[[Any, Any, Size, Thresholds], Segments]
"""Takes the image processor, the outputs of one image (a batch of one), the image's size and the thresholds."""


class PostProcess(Protocol):
    """Makes one image's segments from the model's outputs (a batch of one) on the model's device."""

    def __call__(self, outputs: Any, size: Size, thresholds: Thresholds) -> Segments:
        """The segments at `size`, height and width."""


def postprocess_for(image_processor: Any, subtask: Subtask) -> PostProcess | None:
    """The function that gives what the processor's own gives; None where that is not known."""
    kind = type(image_processor)
    if not kind.__module__.startswith("transformers.models."):
        return None
    name = kind.__name__ if kind.__name__ in FUNCTIONS else kind.__name__.removesuffix("Pil")
    functions = FUNCTIONS.get(name, {})
    return partial(functions[subtask], image_processor) if subtask in functions else None


def _heads(outputs: Any) -> tuple[Tensor, Tensor]:
    """Class logits (1 × Q × C+1) and mask logits (1 × Q × h × w): DETR names them otherwise than its descendants."""
    if hasattr(outputs, "pred_masks"):
        return outputs.logits, outputs.pred_masks
    return outputs.class_queries_logits, outputs.masks_queries_logits


def _masks(masks: Tensor, chosen: Chosen, before: Size | None) -> Tensor:
    """The chosen queries' mask logits (n × h × w), resized where the family does that first."""
    picked = masks[0].index_select(0, chosen.queries.to(masks.device))
    return resized(picked, before, antialias=False) if before else picked


def _best(
    _processor: Any,
    outputs: Any,
    size: Size,
    thresholds: Thresholds,
    *,
    before: Size | None = None,
    antialias: bool = False,
) -> Segments:
    """Each query with its best label; probabilities compete."""
    logits, masks = _heads(outputs)
    chosen = best_labels(logits[0], thresholds.threshold)
    if not len(chosen):
        return nothing(size, masks.device)
    probabilities = _masks(masks, chosen, before).sigmoid()
    return contested(Planes(probabilities, size, chosen.scores.to(masks.device), antialias), chosen, thresholds)


def _overlapping(
    _processor: Any, outputs: Any, size: Size, thresholds: Thresholds, *, before: Size | None = None
) -> Segments:
    """The best pairs of query and label; later masks cover earlier ones."""
    logits, masks = _heads(outputs)
    chosen = promising(top_pairs(logits[0]), thresholds.threshold)
    if not len(chosen):
        return nothing(size, masks.device)
    return stacked(_masks(masks, chosen, before), chosen, size, thresholds)


def _oneformer_instance(_processor: Any, outputs: Any, size: Size, thresholds: Thresholds) -> Segments:
    """The best pairs of query and label compete, and by their logits: OneFormer takes no sigmoid here."""
    logits, masks = _heads(outputs)
    pairs = top_pairs(logits[0])
    chosen = pairs.only(pairs.scores > thresholds.threshold)
    if not len(chosen):
        return nothing(size, masks.device)
    planes = Planes(_masks(masks, chosen, None), size, chosen.scores.to(masks.device), antialias=True)
    return contested(planes, chosen, thresholds)


def _by_queries(
    _processor: Any,
    outputs: Any,
    size: Size,
    _thresholds: Thresholds,
    *,
    before: Size | None = None,
    antialias: bool = False,
    no_object: bool = True,
) -> Segments:
    """Semantic, from queries: the sum of their masks, each with its distribution over the labels."""
    logits, masks = _heads(outputs)
    if before:
        masks = torch.nn.functional.interpolate(masks, size=before, mode="bilinear", align_corners=False)
    distributions = logits.softmax(-1)[..., :-1] if no_object else logits.softmax(-1)
    return labelled(class_scores(distributions, masks.sigmoid())[0], size, antialias=antialias)


def _by_labels(_processor: Any, outputs: Any, size: Size, _thresholds: Thresholds) -> Segments:
    """Semantic, from logits of the labels."""
    return labelled(outputs.logits[0], size)


_DETR: Mapping[Subtask, Function] = {
    Subtask.PANOPTIC: _best,
    Subtask.INSTANCE: _best,
    Subtask.SEMANTIC: _by_queries,
}
_LABELS: Mapping[Subtask, Function] = {Subtask.SEMANTIC: _by_labels}

FUNCTIONS: Mapping[str, Mapping[Subtask, Function]] = {
    "DetrImageProcessor": _DETR,
    "ConditionalDetrImageProcessor": {**_DETR, Subtask.SEMANTIC: partial(_by_queries, no_object=False)},
    "MaskFormerImageProcessor": {
        Subtask.PANOPTIC: _best,
        Subtask.INSTANCE: _overlapping,
        Subtask.SEMANTIC: _by_queries,
    },
    "Mask2FormerImageProcessor": {
        Subtask.PANOPTIC: partial(_best, before=MASK2FORMER_SIZE),
        Subtask.INSTANCE: partial(_overlapping, before=MASK2FORMER_SIZE),
        Subtask.SEMANTIC: partial(_by_queries, before=MASK2FORMER_SIZE),
    },
    "OneFormerImageProcessor": {
        Subtask.PANOPTIC: partial(_best, antialias=True),
        Subtask.INSTANCE: _oneformer_instance,
        Subtask.SEMANTIC: partial(_by_queries, antialias=True),
    },
    "OneFormerImageProcessorPil": {
        Subtask.PANOPTIC: partial(_best, antialias=True),
        Subtask.INSTANCE: _oneformer_instance,
        Subtask.SEMANTIC: _by_queries,
    },
    "EomtImageProcessor": {
        Subtask.PANOPTIC: eomt.panoptic,
        Subtask.INSTANCE: eomt.instance,
        Subtask.SEMANTIC: eomt.semantic,
    },
    "SegformerImageProcessor": _LABELS,
    "BeitImageProcessor": _LABELS,
    "DPTImageProcessor": _LABELS,
    "MobileViTImageProcessor": _LABELS,
    "MobileNetV2ImageProcessor": _LABELS,
}
"""By the name of the class; a Pillow variant, with `Pil` after the name, is alike but for OneFormer's."""
