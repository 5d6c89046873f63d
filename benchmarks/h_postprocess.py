"""Post-processing of 12-megapixel images: ours against the stock `post_process_*` on the same outputs."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers as hf
from PIL import Image
from skimage import data

from benchmarks.memory import peak_memory
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent
from maskmill.schema import Subtask
from maskmill_worker.model.forward import Outputs
from maskmill_worker.model.postprocess import Segments, Thresholds, postprocess_for
from tests.exactness.calibration import enliven, fit_classes, fit_masks, fit_semantic

TITLE = "Post-processing of 12-megapixel images"
SIZE = Extent((3000, 4000), quick=(1500, 2000))
LABELS = {index: f"label {index}" for index in range(150)}
NAMED: dict[str, Any] = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
REPEATS = Extent(2, quick=1)
LOOKING = 0.1
"""Share of a core that goes into measuring memory: peaks of tenths of a second are to be seen."""
SPEED_UP, GROWTH_GIB = 5.0, 1.0


@dataclass(frozen=True)
class Case:
    """One post-processing of one model's outputs."""

    name: str
    processor: Any
    outputs: Outputs
    subtask: Subtask
    thresholds: Thresholds


@dataclass(frozen=True)
class Measure:
    """The best wall time of several runs, the highest memory growth of any, and the last result."""

    seconds: float
    growth: int
    result: Any


def run() -> Result:
    """Every case, stock and ours in turn."""
    figures, comparisons, notes = [], [], [f"torch threads: {torch.get_num_threads()}; outputs float32, on the CPU"]
    with torch.inference_mode():
        for case in [*_segformer_cases(), *_mask2former_cases()]:
            stock, ours = _interleaved(partial(_stock, case), partial(_ours, case))
            for side, measure in (("stock", stock), ("maskmill", ours)):
                figures.append(_figure(f"{case.name}, {side}", measure))
            growth = ours.growth / 2**30
            comparisons += [
                Comparison(name=f"{case.name}: speed", value=stock.seconds / ours.seconds, bar=SPEED_UP),
                Comparison(
                    name=f"{case.name}: memory growth", value=growth, bar=GROWTH_GIB, sense="at most", unit="GiB"
                ),
            ]
            notes.append(_agreement(case, stock.result, ours.result))
    return Result(figures=figures, comparisons=comparisons, notes=notes)


def _figure(name: str, measure: Measure) -> Figure:
    settings = f"{SIZE.now[1]} × {SIZE.now[0]} pixels, best of {REPEATS.now}; memory is the growth"
    return Figure(name=name, value=measure.seconds, unit="s", settings=settings, peak_bytes=measure.growth)


def _interleaved(*sides: Callable[[], Any]) -> list[Measure]:
    """Each side `REPEATS` times, in turn."""
    rounds = [[_measured(side) for side in sides] for _ in range(REPEATS.now)]
    return [
        Measure(min(m.seconds for m in runs), max(m.growth for m in runs), runs[-1].result)
        for runs in zip(*rounds, strict=True)
    ]


def _measured(side: Callable[[], Any]) -> Measure:
    """One run; what earlier ones left with the allocator goes back to the system first, or growth would hide in it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with peak_memory(looking=LOOKING) as peak:
        started = time.perf_counter()
        result = side()
        seconds = time.perf_counter() - started
    return Measure(seconds, max(0, peak.growth), result)


def _ours(case: Case) -> Segments:
    function = postprocess_for(case.processor, case.subtask)
    assert function is not None  # noqa: S101 - for mypy
    return function(case.outputs, SIZE.now, case.thresholds)


def _stock(case: Case) -> Any:
    thresholds = {} if case.subtask is Subtask.SEMANTIC else vars(case.thresholds)
    post_process = getattr(case.processor, f"post_process_{case.subtask}_segmentation")
    return post_process(case.outputs, target_sizes=[SIZE.now], **thresholds)[0]


def _agreement(case: Case, stock: Any, ours: Segments) -> str:
    """The share of equal pixels, and how many segments there are."""
    if case.subtask is Subtask.SEMANTIC:
        expected, same = stock + 1, "no scores"
    else:
        infos = stock["segments_info"]
        table = torch.zeros(max([0, *(info["id"] for info in infos)]) + 2, dtype=torch.int32)
        for number, info in enumerate(infos, 1):
            table[info["id"] + 1] = number
        expected = table[stock["segmentation"].int() + 1]
        found = [(info["label_id"], number, info["score"]) for number, info in enumerate(infos, 1)]
        same = f"labels and scores {'equal' if found == ours.found else 'NOT EQUAL'}"
    different = int((expected != ours.ids).sum())
    share = 1 - different / expected.numel()
    covered = float((ours.ids > 0).double().mean())
    return (
        f"{case.name}: {share:.6%} of the pixels are equal ({different} are not), {same}; "
        f"{len(ours.found)} segments cover {covered:.0%} of the image"
    )


def _photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in (data.astronaut(), data.coffee())]


def _runs(model: Any, processor: Any) -> list[Callable[[], Any]]:
    """The model on each photograph."""
    inputs = [processor(photograph, return_tensors="pt")["pixel_values"] for photograph in _photographs()]
    return [partial(model, pixel_values=values) for values in inputs]


@torch.inference_mode(mode=False)
@torch.no_grad()
def _segformer_cases() -> list[Case]:
    """SegFormer-B0 with 150 labels (the configuration's defaults), every label about as frequent."""
    torch.manual_seed(0)
    model = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**NAMED)).eval()
    processor = hf.SegformerImageProcessor()
    enliven(model)
    runs = _runs(model, processor)
    fit_semantic(model.decode_head.classifier, runs)
    outputs = Outputs(logits=runs[0]().logits)
    return [Case("SegFormer-B0, semantic, 150 labels", processor, outputs, Subtask.SEMANTIC, Thresholds())]


@torch.inference_mode(mode=False)
@torch.no_grad()
def _mask2former_cases() -> list[Case]:
    """Mask2Former on Swin-T with 100 queries (the configuration's defaults) and 150 labels."""
    torch.manual_seed(0)
    model = hf.Mask2FormerForUniversalSegmentation(hf.Mask2FormerConfig(**NAMED)).eval()
    processor = hf.Mask2FormerImageProcessor(size={"height": 384, "width": 384})
    enliven(model)
    runs = _runs(model, processor)[:1]
    decoder = "model.transformer_module.decoder.mask_predictor.mask_embedder"
    pixels = model.get_submodule("model.pixel_level_module.decoder.mask_projection")
    fit_masks(pixels, model.get_submodule(decoder), runs)
    fit_classes(model.class_predictor, runs)
    raw = runs[0]()
    logits = raw.class_queries_logits.clone()
    logits[..., -1] = -50  # every query is of some label
    outputs = Outputs(class_queries_logits=logits, masks_queries_logits=raw.masks_queries_logits)
    scores = logits[0].softmax(-1).amax(-1).sort(descending=True).values
    every, eight = Thresholds(0.0, 0.5, 0.0), Thresholds(float(scores[7:9].mean()), 0.5, 0.0)
    name = "Mask2Former-Swin-T"
    return [
        Case(f"{name}, panoptic, 100 of 100 queries kept", processor, outputs, Subtask.PANOPTIC, every),
        Case(f"{name}, panoptic, 8 of 100 queries kept", processor, outputs, Subtask.PANOPTIC, eight),
        Case(f"{name}, instance, 100 queries", processor, outputs, Subtask.INSTANCE, Thresholds(threshold=0.5)),
        Case(f"{name}, semantic, 150 labels", processor, outputs, Subtask.SEMANTIC, Thresholds()),
    ]
