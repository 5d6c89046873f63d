"""What other precisions and the device's own arithmetic change: shares of equal pixels, as figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskmill_worker.model.detr import DetrForward
from maskmill_worker.model.fastest import HALF_TOLERANCE
from maskmill_worker.model.forward import Outputs, on_host
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import Segmentation
from tests.exactness.compare import Segment, stock_output, stock_pipeline
from tests.exactness.families import FAMILIES
from tests.exactness.in_process import output, sample_of, segmentations, segmenter_of

from .test_exactness import CASES

FIRST = [
    pytest.param(
        family.name,
        family.subtasks[1] if family.subtasks[0] is None else family.subtasks[0],
        marks=pytest.mark.xdist_group(family.name),
    )
    for family in FAMILIES.values()
]
"""The default subtask of each family."""

LARGE = (3000, 4000)
ROUNDING = 0.01
"""Share of pixels that may come and go with a rounding, whoever rounds."""

SAME_ON_HOST = 0.999

pytestmark = pytest.mark.gpu

ModelFolder = Callable[[str], Path]


def wrong(found: Sequence[Segment], exact: Sequence[Segment]) -> float:
    """The share of pixels that have another label than in the exact masks, or one where they have none."""
    labels = sorted({segment["label"] for segment in (*found, *exact)})
    sizes = {segment["mask"].size for segment in (*found, *exact)}
    if not sizes:
        return 0.0
    [(width, height)] = sizes
    one, other = (label_map(segments, labels, (height, width)) for segments in (found, exact))
    return float(np.mean(one != other))


def label_map(segments: Sequence[Segment], labels: Sequence[str], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Each pixel's label as its place in `labels` from 1, 0 = none."""
    found = np.zeros(size, np.uint16)
    for segment in segments:
        found[np.asarray(segment["mask"]) > 0] = labels.index(segment["label"]) + 1
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("family", "subtask"), FIRST)
def test_a_precision_costs_no_more_pixels_than_it_costs_the_stock_pipeline(
    family: str,
    subtask: str,
    dtype: str,
    device: str,
    model_folder: ModelFolder,
    photograph_paths: dict[str, Path],
    figure: Callable[..., None],
) -> None:
    """Float32 is that of torch's defaults here, with TF32 in convolutions."""
    folder, paths = model_folder(family), list(photograph_paths.values())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = {path: stock_output(folder, path, subtask, device) for path in paths}
    segmenter = segmenter_of(Models(device), folder, subtask, dtype=dtype)
    ours = segmentations(segmenter, paths, 4)
    pipe = stock_pipeline(folder, device, dtype=getattr(torch, dtype))
    ours_wrong = fmean(wrong(output(ours[path]), exact[path]) for path in paths)
    stock_wrong = fmean(wrong(pipe(str(path), subtask=subtask), exact[path]) for path in paths)
    for side, share in (("ours", ours_wrong), ("stock pipeline", stock_wrong)):
        name = f"{family}, {subtask}, {dtype}: pixels as in exact float32, {side}"
        figure(name=name, value=100 * (1 - share), unit="%", settings="labels by pixel; ours in batches of 4")
    assert ours_wrong <= HALF_TOLERANCE * stock_wrong + ROUNDING
    if family == "detr":
        assert isinstance(segmenter._run, DetrForward), "its fast forward passed its check in this precision"


@pytest.mark.usefixtures("exact_float32")
@pytest.mark.parametrize(("family", "subtask"), CASES)
def test_post_processing_on_the_device_gives_what_it_gives_on_the_host(
    family: str,
    subtask: str,
    device: str,
    model_folder: ModelFolder,
    photograph_paths: dict[str, Path],
    figure: Callable[..., None],
) -> None:
    segmenter = segmenter_of(Models(device), model_folder(family), subtask)
    shares = []
    for path in list(photograph_paths.values())[:3]:
        [outputs] = segmenter.forward(segmenter.collate([sample_of(segmenter, path).inputs]))
        large = [] if shares or outputs.get("patch_offsets") else [LARGE]
        for size in (*outputs["target_size"], *large):
            here, there = (
                segmenter.postprocess(Outputs(each, target_size=[size])) for each in (outputs, on_host(outputs))
            )
            assert [s.label for s in here.segments] == [s.label for s in there.segments], (path.name, size)
            shares.append(same_pixels(here, there))
    figure(
        name=f"{family}, {subtask}: post-processing, pixels on the device as on the host",
        value=100 * min(shares),
        unit="%",
        settings="the worst of three photographs at their own size, and of one at 12 megapixels",
    )
    assert min(shares) >= SAME_ON_HOST


def same_pixels(one: Segmentation, other: Segmentation) -> float:
    return float(np.mean(one.ids == other.ids))
