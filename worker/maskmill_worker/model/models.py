"""The model in use, loaded once per process, with the fastest forward that gives its own results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PickleError
from typing import Any

import structlog
import torch
from transformers import DetrForSegmentation, pipeline
from transformers.utils import logging as transformers_logging

from maskmill.access import model_allowed
from maskmill.errors import DeviceLost, ModelRefused, ModelUnavailable, ModelUnusable, one_line
from maskmill.schema import Spec, Subtask
from maskmill_worker.model.detr import DetrForward
from maskmill_worker.model.forward import Forward, Outputs, StockForward, everything
from maskmill_worker.model.model_files import check_reachable, resolve
from maskmill_worker.model.postprocess import PostProcess, StockPostProcess, mismatch, postprocess_for
from maskmill_worker.model.segmenter import Segmenter, SegmentMapPipeline

log = structlog.get_logger(__name__)

FAST: dict[type, Callable[[Any], Forward]] = {DetrForSegmentation: DetrForward}
"""Faster forwards by the model's very class; a subclass may compute something else."""

TOLERANCE = 1e-3
"""By how much (of the outputs' spread) a fast forward may differ from the stock one for noise."""


class Models:
    """The model in use: loaded once per process and kept while jobs ask for the same one.

    `allowed` bounds what jobs may ask for (None: nothing does); `trusted` models may run code of their own.
    """

    def __init__(
        self,
        device: str,
        *,
        compiled: bool = False,
        allowed: Sequence[str] | None = None,
        trusted: Sequence[str] = (),
    ) -> None:
        self.device = device
        self.compiled = compiled
        self.allowed = allowed
        self.trusted = trusted
        self._key: tuple[object, ...] | None = None
        self._model: _Loaded | None = None

    def get(self, spec: Spec) -> Segmenter:
        """A segmenter for the spec, warmed up when its model is new.

        Raises `ModelUnavailable`, and `DeviceLost` when the device is to blame.

        Weights come from safetensors, or from a pickle read by torch's weights-only loader, which executes nothing.
        """
        key = (spec.model, spec.revision, spec.image_processor, spec.dtype)
        model = self._model if key == self._key else None
        try:
            if model is None:
                self._model = None  # the old weights go before the new ones come
                model = self._loaded(spec)
            segmenter = model.segmenter(spec)
        except ModelUnavailable:
            raise
        except torch.AcceleratorError as error:  # no later attempt in this process would end otherwise
            raise DeviceLost(one_line(error)) from error
        except Exception as error:
            kind = ModelUnusable if Path(resolve(spec.model)).is_dir() and _will_stay(error) else ModelUnavailable
            raise kind(f"'{spec.model}' cannot be loaded: {one_line(error)}") from error
        self._model, self._key = model, key
        return segmenter

    def _loaded(self, spec: Spec) -> _Loaded:
        loaded = self._load(spec)
        forward = forward_of(loaded)
        if self.compiled:
            forward.compile()
        return _Loaded(loaded, forward)

    def _load(self, spec: Spec) -> SegmentMapPipeline:
        transformers_logging.disable_progress_bar()
        for name in filter(None, (spec.model, spec.image_processor)):
            if self.allowed is not None and not model_allowed(name, self.allowed):
                raise ModelRefused(f"'{name}' is not among the models that this worker loads (MASKMILL_ALLOWED_MODELS)")
        check_reachable(spec.model, spec.revision)
        log.info("model_loading", model=spec.model, device=self.device, dtype=spec.dtype.value)
        options: dict[str, Any] = {"revision": spec.revision} if spec.revision else {}
        if spec.image_processor:
            options["image_processor"] = resolve(spec.image_processor)
        loaded: SegmentMapPipeline = pipeline(
            "image-segmentation",
            model=resolve(spec.model),
            dtype=spec.dtype.value,
            device=self.device,
            pipeline_class=SegmentMapPipeline,
            trust_remote_code=model_allowed(spec.model, self.trusted),  # None would ask on the terminal
            **options,
        )
        loaded.model.eval()
        return loaded


@dataclass
class _Loaded:
    """A model in memory, and how each subtask that was asked for is post-processed."""

    pipeline: SegmentMapPipeline
    forward: Forward
    post_processes: dict[Subtask, PostProcess] = field(default_factory=dict)

    def segmenter(self, spec: Spec) -> Segmenter:
        """A segmenter for the spec; the first one for a subtask tries the model out."""
        subtask = self.pipeline.resolve_subtask(spec.subtask)
        if subtask not in self.post_processes:
            stock = StockPostProcess(self.pipeline.image_processor, subtask)
            outputs = Segmenter(self.pipeline, self.forward, stock, spec).trial()
            self.post_processes[subtask] = postprocess_of(self.pipeline.image_processor, subtask, outputs)
        return Segmenter(self.pipeline, self.forward, self.post_processes[subtask], spec)


def _will_stay(error: Exception) -> bool:
    """Whether the same files will end in the same error: not for want of memory, nor for a file system's errors."""
    own = isinstance(error, OSError) and error.errno is None  # how transformers says that a file is missing
    return own or isinstance(error, (ValueError, TypeError, LookupError, AttributeError, ImportError, PickleError))


def forward_of(loaded: SegmentMapPipeline) -> Forward:
    """The model's fast forward where it has one that agrees with the stock one for noise; else the stock one."""
    stock = StockForward(loaded.model)
    if type(loaded.model) not in FAST:
        return stock
    try:
        fast = FAST[type(loaded.model)](loaded.model)
        difference = _difference(loaded, fast, stock)
    except Exception as error:  # noqa: BLE001 - another version of transformers, a backbone of another make
        log.warning("stock_forward_used", model=type(loaded.model).__name__, reason=one_line(error))
        return stock
    if difference > TOLERANCE and loaded.dtype == torch.float32:
        log.warning("stock_forward_used", model=type(loaded.model).__name__, reason=f"differs by {difference:.1e}")
        return stock
    return fast


@torch.inference_mode()
def postprocess_of(image_processor: Any, subtask: Subtask, outputs: Outputs) -> PostProcess:
    """Our own post-processing where it does with a model's outputs what the processor's does; else the processor's."""
    stock = StockPostProcess(image_processor, subtask)
    fast = postprocess_for(image_processor, subtask)
    if fast is None:
        return stock
    try:
        reason = mismatch(fast, stock, outputs)
    except Exception as error:  # noqa: BLE001 - outputs of another make
        reason = one_line(error)
    if reason is None:
        return fast
    name = type(image_processor).__name__
    log.warning("stock_postprocess_used", processor=name, subtask=subtask.value, reason=reason)
    return stock


@torch.inference_mode()
def _difference(loaded: SegmentMapPipeline, fast: Forward, stock: Forward) -> float:
    """The largest difference between the two forwards' outputs for noise, in standard deviations of each output."""
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).to(loaded.device, loaded.dtype)
    batch = {"pixel_values": pixels, "target_size": [(64, 96)] * len(pixels)}
    return max(
        float((value - theirs[name]).abs().max() / theirs[name].std().clamp(min=1e-6))
        for ours, theirs in zip(fast(batch, everything), stock(batch, everything), strict=True)
        for name, value in ours.items()
        if torch.is_tensor(value)
    )
