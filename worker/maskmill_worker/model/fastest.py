"""The fastest ways of running a model that give its own results: tried out when it is loaded, else the stock ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import Any, TypeVar

import structlog
import torch
from PIL import Image
from transformers import DetrForSegmentation

from maskmill.errors import one_line
from maskmill.schema import Subtask
from maskmill_worker.model.detr import DetrForward
from maskmill_worker.model.forward import Forward, Inputs, Outputs, StockForward, everything
from maskmill_worker.model.parts import faster, is_own
from maskmill_worker.model.postprocess import PostProcess, Size, StockPostProcess, mismatch, postprocess_for
from maskmill_worker.model.segmenter import SegmentMapPipeline, TransformersSegmenter

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

FAST: dict[type, Callable[[Any], Forward]] = {DetrForSegmentation: DetrForward}
"""Faster forwards by the model's very class; a subclass may compute something else. Others may have faster parts."""

TOLERANCE = 1e-3
"""By how much (of the outputs' spread) a fast forward may differ from the stock one for noise."""

HALF_TOLERANCE = 1.5
"""In half precision: how many times as far from float32 as the stock forward a fast one may be."""

TRIAL_SIZES: tuple[Size, ...] = ((64, 96), (224, 224), (224, 64))
"""Height and width of the images that a model is tried out with: of which it may take only its own size."""

NOISE_SIZES: tuple[Size, ...] = ((64, 96), (97, 61))
"""Those of the noise that forwards are compared for, unless the model takes its own size only."""

NOISES = 3
"""How often a fast forward may try in float32: a mask logit within rounding of zero, by chance, changes what a query
looks at. In half precision it is compared by how far it is from float32, which chance would forgive."""

READ = ("logits", "pred_masks", "class_queries_logits", "masks_queries_logits")
"""What post-processing reads of a model's outputs, by the names of all families."""


def forward_of(loaded: SegmentMapPipeline, *, compiled: bool = False) -> Forward:
    """The model's fast forward where it has one that agrees with the stock one for noise; else the stock one.

    What is to be compiled has the model's own parts, which the compiler knows.
    """
    stock = StockForward(loaded.model)
    try:
        fast = _fast(loaded.model, compiled=compiled)
        reason = _disagreement(loaded, fast, stock) if fast else None
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - another version of transformers, a backbone of another make
        reason = one_line(error)
    if reason:
        log.warning("stock_forward_used", model=type(loaded.model).__name__, reason=reason)
    return stock if reason or not fast else fast


def _fast(model: Any, *, compiled: bool) -> Forward | None:
    """The model's fast forward, over faster parts where it has some."""
    changed = None if compiled else faster(model)
    if type(model) in FAST:
        return FAST[type(model)](changed or model)
    return StockForward(changed) if changed else None


def runs_side_by_side(loaded: SegmentMapPipeline) -> bool:
    """Whether several threads may run the model at a time: on a CPU, if its code is transformers' own.

    That keeps nothing of one call for another (`tests/exactness/test_side_by_side.py`); a trusted model's may.
    """
    return loaded.device.type == "cpu" and is_own(loaded.model)


def tried_postprocess(segmenter: TransformersSegmenter) -> PostProcess:
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


def _trials(segmenter: TransformersSegmenter) -> Iterator[Outputs]:
    """Outputs for one size that the model takes; for each, where the processor cuts images into patches."""
    for size in (*TRIAL_SIZES, *_own_sizes(segmenter.pipeline.model.config)):
        outputs = _if_taken(segmenter.trial, size)
        if outputs is None:
            continue
        yield outputs
        if not outputs.get("patch_offsets"):
            return


def _if_taken(run: Callable[[Size], Answer], size: Size) -> Answer | None:
    """What running a model over an image of this size gives; None where the model does not take it."""
    try:
        return run(size)
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a family raises for a size
        log.info("size_not_taken", size=size, reason=one_line(error))
        return None


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

    @cache
    def tried(size: Size, seed: int) -> tuple[Inputs, Sequence[Outputs]]:
        noise = _noise(loaded, size, seed)
        return noise, stock(noise, everything)

    sizes, noises = _sizes_taken(loaded, lambda size: tried(size, 0)), NOISES if exact is None else 1
    for size in sizes:
        reasons = (_difference_for(*tried(size, seed), fast, exact) for seed in range(noises))
        found = list(takewhile(bool, reasons))
        if len(found) == noises:
            return f"differs {found[-1]} at {size}"
    return None if sizes else "takes no noise of any size"


def _sizes_taken(loaded: SegmentMapPipeline, run: Callable[[Size], object]) -> Sequence[Size]:
    """The sizes of noise that the model takes: all, or its own; `run` has it run over noise of one."""
    groups = (NOISE_SIZES, *((size,) for size in _own_sizes(loaded.model.config)))
    return next((sizes for sizes in groups if _if_taken(run, sizes[-1]) is not None), ())


def _noise(loaded: SegmentMapPipeline, size: Size, seed: int = 0) -> Inputs:
    """Images of noise, several where they are small, with what else the model takes (OneFormer its task)."""
    images = 2 if size in NOISE_SIZES else 1
    noise = torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(seed))
    pixels = noise.to(loaded.device).to(loaded.dtype)
    inputs: Inputs = {"pixel_values": pixels, "target_size": [size] * images}
    if loaded.tokenizer is not None:
        task = loaded.preprocess(Image.new("RGB", (8, 8)), subtask=Subtask.PANOPTIC.value)["task_inputs"]
        inputs["task_inputs"] = task.to(loaded.device).expand(images, -1)
    return inputs


def _difference_for(batch: Inputs, theirs: Sequence[Outputs], fast: Forward, exact: Forward | None) -> str | None:
    """By how much the outputs differ from the stock ones; in half precision from those that are exact."""
    ours = fast(batch, everything)
    if exact is None:
        difference, allowed = _difference(ours, theirs), TOLERANCE
    else:
        truth = exact(batch | {"pixel_values": batch["pixel_values"].float()}, everything)
        difference, allowed = _difference(ours, truth), HALF_TOLERANCE * _difference(theirs, truth) + TOLERANCE
    return f"by {difference:.1e}, where {allowed:.1e} is rounding," if difference > allowed else None


def _difference(ours: Sequence[Outputs], theirs: Sequence[Outputs]) -> float:
    """The largest difference between the outputs that are read, in standard deviations of each output."""
    return max(
        float((one[name].float() - value.float()).abs().max() / value.float().std().clamp(min=1e-6))
        for one, other in zip(ours, theirs, strict=True)
        for name, value in other.items()
        if name in READ
    )
