"""The fastest ways of running a model that give its own results: tried out when it is loaded, else the stock ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog
import torch
from transformers import DetrForSegmentation

from maskmill.errors import one_line
from maskmill.schema import Subtask
from maskmill_worker.model.detr import DetrForward
from maskmill_worker.model.forward import Forward, Inputs, Outputs, StockForward, everything
from maskmill_worker.model.postprocess import PostProcess, Size, StockPostProcess, mismatch, postprocess_for
from maskmill_worker.model.segmenter import Segmenter, SegmentMapPipeline

log = structlog.get_logger(__name__)

FAST: dict[type, Callable[[Any], Forward]] = {DetrForSegmentation: DetrForward}
"""Faster forwards by the model's very class; a subclass may compute something else."""

TOLERANCE = 1e-3
"""By how much (of the outputs' spread) a fast forward may differ from the stock one for noise."""

HALF_TOLERANCE = 1.5
"""In half precision: how many times as far from float32 as the stock forward a fast one may be."""

TRIAL_SIZES: tuple[Size, ...] = ((64, 96), (224, 224), (224, 64))
"""Height and width of the images that a model is tried out with: of which it may take only its own size."""

OWN_MODELS = "transformers.models."
"""Where transformers has its own models."""

NOISE_SIZES: tuple[Size, ...] = ((64, 96), (97, 61))
"""Those of the noise that forwards are compared for."""


def forward_of(loaded: SegmentMapPipeline) -> Forward:
    """The model's fast forward where it has one that agrees with the stock one for noise; else the stock one."""
    stock = StockForward(loaded.model)
    if type(loaded.model) not in FAST:
        return stock
    try:
        fast = FAST[type(loaded.model)](loaded.model)
        reason = _disagreement(loaded, fast, stock)
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - another version of transformers, a backbone of another make
        reason = one_line(error)
    if reason is None:
        return fast
    log.warning("stock_forward_used", model=type(loaded.model).__name__, reason=reason)
    return stock


def runs_side_by_side(loaded: SegmentMapPipeline) -> bool:
    """Whether several threads may run the model at a time: on a CPU, if its code is transformers' own.

    That keeps nothing of one call for another (`tests/exactness/test_side_by_side.py`); a trusted model's may.
    """
    return loaded.device.type == "cpu" and type(loaded.model).__module__.startswith(OWN_MODELS)


def tried_postprocess(segmenter: Segmenter) -> PostProcess:
    """The post-processing for a segmenter's subtask, by what the model gives for images of several sizes.

    A model that takes none of them is one of images of another size: the processor's own functions are used then.
    """
    outputs = list(_trials(segmenter))
    processor = segmenter.pipeline.image_processor
    if not outputs:
        log.warning("model_not_tried", model=type(segmenter.pipeline.model).__name__, sizes=TRIAL_SIZES)
        return StockPostProcess(processor, segmenter.subtask)
    return postprocess_of(processor, segmenter.subtask, *outputs)


@torch.inference_mode()
def postprocess_of(image_processor: Any, subtask: Subtask, *outputs: Outputs) -> PostProcess:
    """Our own post-processing where it does with a model's outputs what the processor's does; else the processor's."""
    stock = StockPostProcess(image_processor, subtask)
    fast = postprocess_for(image_processor, subtask)
    if fast is None:
        return stock
    try:
        reason = next((each for one in outputs if (each := mismatch(fast, stock, one))), None)
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - outputs of another make
        reason = one_line(error)
    if reason is None:
        return fast
    name = type(image_processor).__name__
    log.warning("stock_postprocess_used", processor=name, subtask=subtask.value, reason=reason)
    return stock


def _trials(segmenter: Segmenter) -> Iterator[Outputs]:
    """Outputs for one size that the model takes; for each, where the processor cuts images into patches."""
    for size in (*TRIAL_SIZES, *_own_sizes(segmenter.pipeline.model.config)):
        try:
            outputs = segmenter.trial(size)
        except torch.AcceleratorError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a family raises for a size
            log.info("size_not_taken", size=size, reason=one_line(error))
            continue
        yield outputs
        if not outputs.get("patch_offsets"):
            return


def _own_sizes(config: Any) -> list[Size]:
    """The sizes that a configuration names, its backbone's too."""
    parts = [config, *(getattr(config, name, None) for name in ("backbone_config", "vision_config"))]
    found = [getattr(part, "image_size", None) for part in parts]
    pairs = [each if isinstance(each, Sequence) else (each, each) for each in found if each]
    return [(int(pair[0]), int(pair[-1])) for pair in pairs]


@torch.inference_mode()
@torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32's rounding is as large as what is looked for
def _disagreement(loaded: SegmentMapPipeline, fast: Forward, stock: Forward) -> str | None:
    """How a fast forward differs from the stock one for noise, beyond the rounding of the model's dtype."""
    exact = None if loaded.dtype == torch.float32 else StockForward(copy.deepcopy(loaded.model).float())
    for size in NOISE_SIZES:
        noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(loaded.device)
        pixels = noise.to(loaded.dtype)
        batch: Inputs = {"pixel_values": pixels, "target_size": [size] * len(noise)}
        ours, theirs = fast(batch, everything), stock(batch, everything)
        if exact is None:
            difference, allowed = _difference(ours, theirs), TOLERANCE
        else:
            truth = exact(batch | {"pixel_values": pixels.float()}, everything)
            difference, allowed = _difference(ours, truth), HALF_TOLERANCE * _difference(theirs, truth) + TOLERANCE
        if difference > allowed:
            return f"differs by {difference:.1e} at {size}, where {allowed:.1e} is rounding"
    return None


def _difference(ours: Sequence[Outputs], theirs: Sequence[Outputs]) -> float:
    """The largest difference between the outputs, in standard deviations of each output."""
    return max(
        float((value.float() - other[name].float()).abs().max() / other[name].float().std().clamp(min=1e-6))
        for one, other in zip(ours, theirs, strict=True)
        for name, value in one.items()
        if torch.is_tensor(value)
    )
