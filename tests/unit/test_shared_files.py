"""Items handed over through files in memory, between processes that may die."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from maskmill_worker.loading import shared_files
from maskmill_worker.loading.shared_files import SharedFiles

TENSORS = {
    "float32": torch.arange(24, dtype=torch.float32).view(2, 3, 4),
    "float64": torch.tensor([0.1]),
    "bfloat16": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
    "int64": torch.tensor([2**40, -1]),
    "uint8": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "complex": torch.tensor([1 + 2j]),
    "one value": torch.tensor(7.25),
    "no value": torch.empty(0, 3),
    "strided": torch.arange(12).view(3, 4).T[1:, ::2],
}


def through(files: SharedFiles, item: Any) -> Any:
    return files.read(files.write(item))


def assert_same(found: Tensor, given: Tensor) -> None:
    assert (found.dtype, found.shape) == (given.dtype, given.shape)
    assert torch.equal(found, given)


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_any_kind_comes_out_as_it_went_in(name: str) -> None:
    assert_same(through(SharedFiles(1), TENSORS[name]), TENSORS[name])


def test_tensors_may_be_anywhere_in_an_item() -> None:
    item = {"all": list(TENSORS.values()), "sizes": [(480, 640)], "text": "é", "none": None}
    found = through(SharedFiles(1), item)
    for tensor, given in zip(found.pop("all"), TENSORS.values(), strict=True):
        assert_same(tensor, given)
    assert found == {"sizes": [(480, 640)], "text": "é", "none": None}


def test_a_file_is_used_again_once_it_has_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "KEPT_BYTES", 10_000)
    files = SharedFiles(2)
    numbers = set()
    for length in (100, 5_000, 1, 0, 700):  # 5,000 numbers are more than a file keeps
        number = files.write(torch.full((length,), length))
        numbers.add(number)
        assert files.read(number).tolist() == [length] * length
    assert len(numbers) == 1
    assert os.fstat(files._files[0]).st_size <= 10_000


def test_a_file_is_not_written_before_it_has_been_read() -> None:
    files = SharedFiles(2)
    first, second = files.write("first"), files.write("second")
    third: list[int] = []
    writer = threading.Thread(target=lambda: third.append(files.write("third")))
    writer.start()
    assert files.read(second) == "second"
    writer.join(30)
    assert third == [second]
    assert [files.read(first), files.read(second)] == ["first", "third"]


def test_what_was_read_is_not_changed_by_what_is_written_next() -> None:
    files = SharedFiles(1)
    ones = through(files, torch.ones(1000))
    through(files, torch.zeros(1000))
    assert ones.sum() == 1000


def test_an_item_outlives_the_process_that_wrote_it() -> None:
    files = SharedFiles(1)
    process = multiprocessing.get_context("fork").Process(target=files.write, args=(torch.arange(5),))
    process.start()
    process.join()
    assert files.read(0).tolist() == [0, 1, 2, 3, 4]


def test_closing_gives_the_descriptors_back() -> None:
    before = psutil.Process().num_fds()
    files = SharedFiles(8)
    files.close()
    assert psutil.Process().num_fds() == before
