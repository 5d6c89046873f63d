"""Mask2Former, SegFormer, MaskFormer and OneFormer: forward and post-processing of 640 × 480, against stock."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import pipeline

from benchmarks.families import FAMILIES, SIZE, Family, photograph
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill.schema import Spec, Subtask
from maskmill_worker.model.models import Models
from maskmill_worker.model.parts import onednn
from maskmill_worker.model.postprocess import StockPostProcess, Thresholds
from maskmill_worker.model.segmenter import Segmenter

TITLE = "The other families: forward and post-processing of 640 × 480"
MEASURED = Extent(FAMILIES, quick=FAMILIES[:2])
ROUNDS = Extent(3, quick=1)
EQUAL_BAR = 99.9
HALVES = ("forward", "post-processing")
STOCK, OURS, OURS_BY_MKL = "stock", "maskmill", "maskmill, linear layers by MKL"

Side = Callable[[Mapping[str, Any]], tuple[NDArray[np.int_], int, list[float]]]
"""From an image's tensors to its map, the number of segments, and the seconds of either half."""


def run() -> Result:
    """Each family, both sides in turn on tensors that are ready."""
    torch.set_num_threads(1)
    figures, comparisons, notes = [], [], [_machine()]
    for family in MEASURED.now:
        seconds, equal, segments = _measured(family)
        for name, halves in seconds.items():
            figures.append(_figure(family, name, halves))
        stock, ours = (sum(seconds[name]) for name in (STOCK, OURS))
        comparisons += [
            Comparison(name=f"{family.name}, {family.subtask}: speed", value=stock / ours, bar=family.bar),
            Comparison(name=f"{family.name}: pixels with the same segment", value=equal, bar=EQUAL_BAR, unit="%"),
        ]
        notes.append(_parts(family, seconds, segments))
        gc.collect()
    return Result(figures=figures, comparisons=comparisons, notes=notes)


def _measured(family: Family) -> tuple[dict[str, list[float]], float, int]:
    """The least seconds of each side's halves, the equal pixels in %, and the segments."""
    sides, preprocess = _sides(family)
    inputs = preprocess(photograph())
    found = {name: side(inputs) for name, side in sides.items()}  # which warms up
    rounds = [{name: side(inputs)[2] for name, side in sides.items()} for _ in range(ROUNDS.now)]
    seconds = {name: np.min([each[name] for each in rounds], axis=0).tolist() for name in sides}
    equal = float((found[STOCK][0] == found[OURS][0]).mean())
    say(f"{family.name}: {seconds}, {equal:.4%} equal")
    return seconds, 100 * equal, found[STOCK][1]


def _sides(family: Family) -> tuple[dict[str, Side], Callable[[Image.Image], dict[str, Any]]]:
    """The sides, and what makes tensors of an image for all of them."""
    folder = str(family.folder())
    pipe = pipeline("image-segmentation", model=folder, device="cpu")
    spec = Spec(model=folder, subtask=family.subtask)
    ours = Models("cpu").get(spec)
    with patch.object(onednn, "is_faster", lambda _: False):
        by_mkl = Models("cpu").get(spec)
    sides: dict[str, Side] = {
        STOCK: partial(_stock, pipe, family.subtask),
        OURS: partial(_ours, ours),
        OURS_BY_MKL: partial(_ours, by_mkl),
    }
    return sides, ours.preprocess


@torch.inference_mode()
def _stock(pipe: Any, subtask: Subtask, inputs: Mapping[str, Any]) -> tuple[NDArray[np.int_], int, list[float]]:
    """The model and the processor's function, as the pipeline calls them, without a mask image for each segment."""
    started = time.process_time()
    outputs = pipe.forward(dict(inputs))
    between = time.process_time()
    segments = StockPostProcess(pipe.image_processor, subtask)(outputs, inputs["target_size"][0], Thresholds())
    ended = time.process_time()
    return segments.ids.numpy(), len(segments.found), [between - started, ended - between]


def _ours(segmenter: Segmenter, inputs: Mapping[str, Any]) -> tuple[NDArray[np.int_], int, list[float]]:
    """What a worker does with an image alone, to areas and boxes of the segments."""
    started = time.process_time()
    [outputs] = segmenter.forward(segmenter.collate([dict(inputs)]))
    between = time.process_time()
    result = segmenter.postprocess(outputs)
    ended = time.process_time()
    return result.ids.astype(int), len(result.segments), [between - started, ended - between]


def _machine() -> str:
    faster = "faster" if onednn.is_faster(torch.get_num_threads()) else "not faster"
    return (
        "Processor time on one thread, which other work on the machine changes little. Random weights, seeded, at "
        f"released sizes. Linear layers by oneDNN are {faster} here by {onednn.TIMES_FASTER} × or more, which a worker "
        "times when it loads a model."
    )


def _figure(family: Family, name: str, halves: list[float]) -> Figure:
    size = "×".join(map(str, SIZE))
    settings = f"{family.subtask}, {size}, one image at a time, one thread, float32; least of {ROUNDS.now}"
    return Figure(name=f"{family.name}, {name}", value=sum(halves), unit="s", settings=settings)


def _parts(family: Family, seconds: dict[str, list[float]], segments: int) -> str:
    times = {
        name: [stock / half for stock, half in zip(seconds[STOCK], seconds[name], strict=True)] for name in seconds
    }
    halves = "; ".join(
        f"{half} {seconds[STOCK][index]:.3g} s in stock, {seconds[OURS][index]:.3g} s here ({times[OURS][index]:.2f} ×)"
        for index, half in enumerate(HALVES)
    )
    by_mkl = sum(seconds[STOCK]) / sum(seconds[OURS_BY_MKL])
    return (
        f"{family.name}: {halves}. Linear layers by MKL, as on a CPU where oneDNN is not faster: {by_mkl:.2f} × in "
        f"all. Segments: {segments}."
    )
