"""The model over batches, with a failure kept to the image that causes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from maskmill.errors import DeviceLost, ImageError, SegmentationFailed, one_line
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.device_errors import out_of_memory, raise_if_lost
from maskmill_worker.model.forward import element_count, on_host
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import Segmentation, Segmenter
from maskmill_worker.process.watchdog import NO_LIMIT, time_limit

log = structlog.get_logger(__name__)

Turn = Callable[[], AbstractContextManager[object]]
"""Waits until this thread may run a forward pass; the block is the pass."""


class NoMemory(SegmentationFailed):
    """There was no memory for an image that was alone in its batch; batches beside it may have had it."""


@dataclass(frozen=True)
class Prediction:
    """One image's segmentation, or the error that the model ended with; wall `seconds` by stage."""

    sample: Sample
    result: Segmentation | ImageError
    seconds: dict[str, float]


def predict(
    segmenter: Segmenter,
    batch: Sequence[Sample],
    size: BatchSize,
    timeout_seconds: float = NO_LIMIT,
    turn: Turn = nullcontext,
) -> Iterator[Prediction]:
    """Segment samples of equal shape; raises `DeviceLost` when the device, not an image, is to blame.

    A batch that fails (out of memory, or an image that the model cannot take) is halved until it works or a single
    image fails: with `NoMemory`, if that is what it lacked. Outputs for which the device has no memory left are
    post-processed on the host. `size` learns how long batches take and which were too large. A forward pass or a
    post-processing that takes longer than the timeout ends this process (see `maskmill_worker.process.watchdog`). Each
    forward pass takes a `turn`; what else is done does not.
    """
    failure: SegmentationFailed | None = None
    elements = element_count(batch[0].inputs)
    try:
        with time_limit(timeout_seconds):
            inputs = segmenter.collate([sample.inputs for sample in batch])
        with turn(), time_limit(timeout_seconds):
            started = time.perf_counter()
            outputs = segmenter.forward(inputs)
            seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 - whatever a model family raises for these images
        failure = _failed("the model failed", error)
        if out_of_memory(error):
            size.too_large(len(batch), elements)
    inputs = {}  # a batch's memory is free for the next one
    if failure is not None:
        # Outside of `except`: there the traceback still holds the failed batch's memory (PyTorch FAQ on out-of-memory).
        yield from _predict_halves(segmenter, batch, size, timeout_seconds, turn, failure)
        return
    size.took(len(batch), elements, seconds)
    for sample, each in zip(batch, outputs, strict=True):
        with time_limit(timeout_seconds):
            prediction = _postprocess(segmenter, sample, each, seconds / len(batch))
        yield prediction


def _predict_halves(
    segmenter: Segmenter,
    batch: Sequence[Sample],
    size: BatchSize,
    timeout_seconds: float,
    turn: Turn,
    failure: SegmentationFailed,
) -> Iterator[Prediction]:
    _free_memory()
    if len(batch) == 1:
        yield Prediction(batch[0], failure, {})
        return
    log.warning("batch_halved", images=len(batch), reason=str(failure))
    middle = len(batch) // 2
    yield from predict(segmenter, batch[:middle], size, timeout_seconds, turn)
    yield from predict(segmenter, batch[middle:], size, timeout_seconds, turn)


def _postprocess(
    segmenter: Segmenter, sample: Sample, outputs: Mapping[str, Any], forward_seconds: float
) -> Prediction:
    started = time.perf_counter()
    result = _segmentation(segmenter, outputs)
    if result is None:
        _free_memory()
        log.warning("postprocessed_on_host", image=sample.task.reference.uri, reason="the device has no memory left")
        result = _segmentation(segmenter, on_host(outputs)) or NoMemory("postprocessing found no memory")
    seconds = {"forward": forward_seconds, "postprocess": time.perf_counter() - started}
    return Prediction(sample, result, seconds)


def _segmentation(segmenter: Segmenter, outputs: Mapping[str, Any]) -> Segmentation | ImageError | None:
    """None where there was no memory for it."""
    try:
        return segmenter.postprocess(outputs)
    except Exception as error:  # noqa: BLE001 - whatever a model family raises for this image
        failure = _failed("postprocessing failed", error)
        return None if isinstance(failure, NoMemory) else failure


def _failed(what: str, error: Exception) -> SegmentationFailed:
    """The outcome of an image; raises `DeviceLost` for what is no image's fault.

    It may be that of any kernel before, which nobody waited for.
    """
    raise_if_lost(error)
    return (NoMemory if out_of_memory(error) else SegmentationFailed)(f"{what}: {one_line(error)}")


def _free_memory() -> None:
    """Give back what torch keeps of the device's memory; raises `DeviceLost` if the device does not answer any more.

    A library's own error, of cuBLAS say, may be the first sign of that. Does nothing where CUDA was never used.
    """
    try:
        torch.cuda.empty_cache()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own is untyped
            torch.cuda.synchronize()
    except torch.AcceleratorError as error:
        raise DeviceLost(one_line(error)) from error
