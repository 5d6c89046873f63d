"""The fast paths in batches of any size and order, mixed shapes, against the stock pipeline at batch size 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from maskmill.errors import SegmentationFailed
from maskmill_worker.model.models import Models
from maskmill_worker.model.postprocess import StockPostProcess
from maskmill_worker.model.segmenter import Segmentation

from .compare import assert_same_output, stock_output
from .families import CASES
from .in_process import output, results, segmentations, segmenter_of

NAMED_CASES = [case for case in CASES if case[1]]
STOCK = cache(stock_output)


@pytest.fixture(scope="module")
def models() -> Models:
    return Models("cpu")


@pytest.mark.parametrize(("family", "subtask"), NAMED_CASES, ids=lambda case: case)
def test_any_batch_gives_what_the_stock_pipeline_gives(
    family: str,
    subtask: str,
    models: Models,
    model_folder: Callable[[str], Path],
    photograph_paths: dict[str, Path],
) -> None:
    folder, paths = model_folder(family), list(photograph_paths.values())
    segmenter = segmenter_of(models, folder, subtask)
    for batch_size, order in ((1, paths), (3, paths), (8, paths[::-1])):
        for path, result in segmentations(segmenter, order, batch_size).items():
            where = f"{family}, {subtask}, {path.name}, batches of {batch_size}"
            assert_same_output(output(result), STOCK(folder, path, subtask), where)


@pytest.mark.parametrize("subtask", ["panoptic", "instance"])
@pytest.mark.parametrize("family", ["detr", "maskformer", "mask2former", "oneformer", "eomt"])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_extreme_thresholds_give_what_the_stock_pipeline_gives(
    family: str,
    subtask: str,
    threshold: float,
    models: Models,
    model_folder: Callable[[str], Path],
    photograph_paths: dict[str, Path],
) -> None:
    folder, paths = model_folder(family), list(photograph_paths.values())[:3]
    segmenter = segmenter_of(models, folder, subtask, threshold=threshold)
    for path, result in segmentations(segmenter, paths, 3).items():
        stock = stock_output(folder, path, subtask, threshold=threshold)
        assert_same_output(output(result), stock, f"{family}, {subtask}, {path.name}, threshold {threshold}")


@pytest.mark.parametrize(("family", "subtask"), [("detr", "panoptic"), ("segformer", "semantic")])
def test_one_image_at_a_time_is_bit_equal_in_any_order(
    family: str,
    subtask: str,
    models: Models,
    model_folder: Callable[[str], Path],
    photograph_paths: dict[str, Path],
) -> None:
    segmenter, paths = segmenter_of(models, model_folder(family), subtask), list(photograph_paths.values())
    torch.use_deterministic_algorithms(True)
    try:
        first, again = segmentations(segmenter, paths, 1), segmentations(segmenter, paths[::-1], 1)
    finally:
        torch.use_deterministic_algorithms(False)
    for path in paths:
        assert first[path].segments == again[path].segments
        assert (first[path].ids == again[path].ids).all()


@pytest.mark.parametrize(("family", "subtask"), NAMED_CASES, ids=lambda case: case)
def test_every_family_has_a_post_processing_of_ours_that_passed_its_check(
    family: str, subtask: str, models: Models, model_folder: Callable[[str], Path]
) -> None:
    assert not isinstance(segmenter_of(models, model_folder(family), subtask)._post_process, StockPostProcess)


@pytest.mark.parametrize("subtask", [None, "panoptic", "instance"])
def test_where_the_stock_pipeline_raises_the_image_fails(
    subtask: str | None, models: Models, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """EoMT's semantic models cut an image that is not square into patches, which have no panoptic segmentation."""
    folder, paths = model_folder("eomt-semantic"), [tmp_path / "wide.png", tmp_path / "square.png"]
    for path, size in zip(paths, [(400, 100), (100, 100)], strict=True):
        Image.effect_noise(size, 64).convert("RGB").save(path)

    wide, square = results(segmenter_of(models, folder, subtask), paths, 1).values()

    with pytest.raises(IndexError):
        stock_output(folder, paths[0], subtask)
    assert isinstance(wide, SegmentationFailed)
    assert isinstance(square, Segmentation)
    assert_same_output(output(square), stock_output(folder, paths[1], subtask), "square")
