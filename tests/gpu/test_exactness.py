"""Every family and subtask on the device: the worker's classes against the stock pipeline there, without TF32."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill_worker.model.models import Models
from maskmill_worker.model.postprocess import StockPostProcess
from tests.exactness.compare import assert_same_output, stock_output
from tests.exactness.families import FAMILIES, OTHERS, is_here
from tests.exactness.in_process import output, segmentations, segmenter_of

BATCH_SIZES = {1: 1, 4: 2, 16: 4}
"""With the copies of each photograph that are taken: four of them have one size, so that a batch of 16 fills."""

HERE = [family for family in (FAMILIES | OTHERS).values() if is_here(family)]
CASES = [
    pytest.param(family.name, subtask, marks=pytest.mark.xdist_group(family.name))
    for family in HERE
    for subtask in family.subtasks
    if subtask
]

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("exact_float32")]

ModelFolder = Callable[[str], Path]


@pytest.fixture(scope="module")
def models(device: str) -> Models:
    return Models(device)


@pytest.fixture(scope="session")
def copies(photograph_paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """Each copy's path, with that of its original."""
    made, folder = {}, tmp_path_factory.mktemp("copies")
    for number in range(max(BATCH_SIZES.values())):
        for name, path in photograph_paths.items():
            made[Path(shutil.copyfile(path, folder / f"{number}-{name}"))] = path
    return made


@pytest.mark.parametrize(("family", "subtask"), CASES)
def test_a_batch_of_any_size_gives_what_the_stock_pipeline_gives_on_this_device(
    family: str, subtask: str, device: str, models: Models, model_folder: ModelFolder, copies: dict[Path, Path]
) -> None:
    folder = model_folder(family)
    segmenter = segmenter_of(models, folder, subtask)
    stock = {original: stock_output(folder, original, subtask, device) for original in set(copies.values())}
    for batch_size, number in BATCH_SIZES.items():
        for path, result in segmentations(segmenter, list(copies)[: number * len(stock)], batch_size).items():
            where = f"{family}, {subtask}, {path.name}, batches of {batch_size}"
            assert_same_output(output(result), stock[copies[path]], where)
    if family in FAMILIES:
        assert not isinstance(segmenter._post_process, StockPostProcess), "ours passed its check on this device"
