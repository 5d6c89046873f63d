"""Whether two post-processings give the same for a model's outputs: asked once, when the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from maskmill.errors import one_line
from maskmill_worker.model.forward import Outputs
from maskmill_worker.model.postprocess.axis import Size
from maskmill_worker.model.postprocess.families import PostProcess
from maskmill_worker.model.postprocess.segments import Segments, Thresholds

FEW = 6
"""Queries, and labels, that the outputs are cut to: enough to compete, and quick."""

TRIALS: tuple[tuple[Size, Thresholds], ...] = (
    ((64, 96), Thresholds(0.5, 0.5, 0.5)),
    ((96, 64), Thresholds(0.5, 0.5, 0.0)),
    ((1300, 1000), Thresholds(0.7, 0.6, 0.2)),
)
"""Images' sizes, of which the last is one for which planes are looked at in cells (see `Planes`), and thresholds."""

SAME_PIXELS = 0.999
SAME_SCORE = 1e-3
VISIBLE = 0.01
"""The part of an image that a segment has at least to be compared: smaller ones may come and go by rounding."""

HALF_PIXELS, HALF_SCORE = 0.9, 3e-2
"""The same in half precision, in which close values are equal."""


def mismatch(ours: PostProcess, stock: PostProcess, outputs: Mapping[str, Any]) -> str | None:
    """How the results differ, beyond ties and rounding; None if they do not. An error has to be of the same type.

    The outputs are those of one image. Noise has no objects in it, so their values are moved and scaled until each
    query has a label and a mask.
    """
    lively = _lively(outputs)
    for size, thresholds in _trials(outputs):
        one, other = (_result(function, lively, size, thresholds) for function in (ours, stock))
        if isinstance(one, Exception) or isinstance(other, Exception):
            if type(one) is not type(other):
                return f"{_described(one)} where the stock function {_described(other)}"
        elif reason := _difference(one, other, half=_is_half(lively)):
            return reason
    return None


def _trials(outputs: Mapping[str, Any]) -> Iterator[tuple[Size, Thresholds]]:
    """Sizes and thresholds; of an image in patches only sizes of its own proportions, which the patches are cut by."""
    own = outputs["target_size"][0] if outputs.get("patch_offsets") and outputs.get("target_size") else None
    for size, thresholds in TRIALS:
        times = max(1, round(max(size) / max(own))) if own else 1
        yield (own[0] * times, own[1] * times) if own else size, thresholds


def _lively(outputs: Mapping[str, Any]) -> Outputs:
    """The outputs of few queries or labels, of which each can be seen."""
    for classes, masks in (("logits", "pred_masks"), ("class_queries_logits", "masks_queries_logits")):
        if masks in outputs:
            changed = {classes: _labelled(outputs[classes]), masks: _spread(outputs[masks][:, :FEW])}
            return Outputs(outputs, **changed)
    return Outputs(outputs, logits=_spread(outputs["logits"][:, :FEW]))


def _labelled(logits: Tensor) -> Tensor:
    """Class logits (B × Q × C+1) of few queries and labels, 'no object' being the least likely."""
    labels = _spread(logits[:, :FEW, :-1][..., None, :FEW])[..., 0, :]
    return torch.cat([labels, labels.amin(-1, keepdim=True) - 1], -1)


def _spread(planes: Tensor) -> Tensor:
    """Planes (… × h × w) with a mean of 0 and a deviation of 3, in which about half of the sigmoids are above 0.5."""
    values = planes.float()
    deviation, mean = torch.std_mean(values, (-2, -1), keepdim=True, correction=0)
    return ((values - mean) / deviation.clamp(min=1e-6) * 3).to(planes.dtype)


def _is_half(outputs: Mapping[str, Any]) -> bool:
    return any(torch.is_tensor(value) and value.dtype.itemsize == 2 for value in outputs.values())


def _result(function: PostProcess, outputs: Outputs, size: Size, thresholds: Thresholds) -> Segments | Exception:
    try:
        return function(outputs, size, thresholds)
    except Exception as error:  # noqa: BLE001 - whatever a family raises
        return error


def _described(result: Segments | Exception) -> str:
    return f"raises {one_line(result, 100)}" if isinstance(result, Exception) else "gives a result"


def _difference(ours: Segments, stock: Segments, *, half: bool) -> str | None:
    same_pixels, same_score = (HALF_PIXELS, HALF_SCORE) if half else (SAME_PIXELS, SAME_SCORE)
    if ours.found == stock.found and torch.equal(ours.ids.int().cpu(), stock.ids.int()):
        return None
    one, other = _label_map(ours), _label_map(stock)
    if one.shape != other.shape:
        return f"the map has the shape {tuple(one.shape)}, the stock one {tuple(other.shape)}"
    agreement = float((one == other).double().mean())
    if agreement < same_pixels:
        return f"the labels of {1 - agreement:.1%} of the pixels differ"
    if half:
        return None  # which segments stay may depend on a rounding
    mine, theirs = _visible(ours), _visible(stock)
    if [label for label, _ in mine] != [label for label, _ in theirs]:
        return f"the segments have the labels {[label for label, _ in mine]}, not {[label for label, _ in theirs]}"
    pairs = zip(mine, theirs, strict=True)
    if any(a is not b and abs((a or 0) - (b or 0)) > same_score for (_, a), (_, b) in pairs):
        return "the segments' scores differ"
    return None


def _label_map(segments: Segments) -> Tensor:
    """Each pixel's label id, -1 where there is no segment."""
    table = torch.full((max((number for _, number, _ in segments.found), default=0) + 1,), -1)
    for label, number, _ in segments.found:
        table[number] = label
    return table[segments.ids.long().cpu()]


def _visible(segments: Segments) -> list[tuple[int, float | None]]:
    """Labels and scores of the segments that are not tiny."""
    areas = segments.ids.long().flatten().bincount(minlength=len(segments.found) + 1).tolist()
    least = VISIBLE * segments.ids.numel()
    return [(label, score) for label, number, score in segments.found if areas[number] >= least]
