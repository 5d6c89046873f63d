"""The stock pipeline's output for one image, and the comparison of a job's output with it."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image
from transformers import ImageSegmentationPipeline, pipeline

from tests.torch_threads import torch_threads

Segment = dict[str, Any]
"""What the stock pipeline gives for a segment: `score` (float or None), `label`, `mask` ("L" image)."""

SCORE_TOLERANCE = 1e-4
MASK_AGREEMENT = 0.999


@cache
def stock_pipeline(folder: Path, device: str = "cpu", **options: Any) -> ImageSegmentationPipeline:
    """The stock pipeline for a model folder, kept: the models are small."""
    return pipeline("image-segmentation", model=str(folder), device=device, **options)


def stock_output(
    folder: Path, photograph: Path, subtask: str | None = None, device: str = "cpu", **parameters: Any
) -> list[Segment]:
    """What `transformers.pipeline` gives for the image file alone (batch size 1), with one thread."""
    if subtask is not None:
        parameters["subtask"] = subtask
    with torch_threads(1):
        return stock_pipeline(folder, device)(str(photograph), **parameters)


def assert_same_output(ours: list[Segment], stock: list[Segment], where: str) -> None:
    """Asserts the same labels in the same order, scores to 1e-4 and masks equal on 99.9 % of the pixels."""
    labels, stock_labels = [s["label"] for s in ours], [s["label"] for s in stock]
    assert labels == stock_labels, f"{where}: labels {labels}, the stock pipeline has {stock_labels}"
    for index, (segment, stock_segment) in enumerate(zip(ours, stock, strict=True)):
        place = f"{where}: segment {index} of {len(stock)} ({stock_segment['label']})"
        _assert_same_score(segment["score"], stock_segment["score"], place)
        _assert_same_mask(segment["mask"], stock_segment["mask"], place)


def _assert_same_score(score: float | None, stock_score: float | None, place: str) -> None:
    if score is None or stock_score is None:
        assert score is stock_score, f"{place}: score {score}, the stock pipeline has {stock_score}"
        return
    difference = abs(score - stock_score)
    assert difference <= SCORE_TOLERANCE, f"{place}: score {score}, the stock pipeline has {stock_score}"


def _assert_same_mask(mask: Image, stock_mask: Image, place: str) -> None:
    assert mask.mode == stock_mask.mode, f"{place}: mask of mode {mask.mode}, not {stock_mask.mode}"
    assert mask.size == stock_mask.size, f"{place}: mask of size {mask.size}, not {stock_mask.size}"
    agreement = mask_agreement(mask, stock_mask)
    assert agreement >= MASK_AGREEMENT, f"{place}: masks agree on {agreement:.4%} of the pixels only"


def mask_agreement(mask: Image, stock_mask: Image) -> float:
    """The part of the pixels that are equal, between 0 and 1, of two mask images of one size."""
    return float(np.mean(np.asarray(mask) == np.asarray(stock_mask)))
