from __future__ import annotations

import pytest
import torch

from maskmill_worker.model.batch_size import LARGEST, SAMPLES, BatchSize
from maskmill_worker.model.device_errors import device_lost, out_of_memory


def run(
    size: BatchSize, elements: int, seconds_of: dict[int, float] | None = None, batches: int = 100, passes: int = 1
) -> int:
    """Full batches of images of so many elements, which take so many seconds by size; the size at the end."""
    for _ in range(batches):
        images = size.of(elements, passes)
        size.took(images, elements, (seconds_of or {}).get(images, 1.0))
    return size.of(elements, passes)


def test_the_size_asked_for_is_kept_however_long_batches_take() -> None:
    assert run(BatchSize(4), 100) == 4


def test_a_found_size_doubles_while_that_brings_throughput() -> None:
    assert run(BatchSize(None), 100, {1: 1.0, 2: 1.1, 4: 1.3, 8: 2.6}) == 4


def test_a_size_is_judged_by_its_best_batch() -> None:
    size = BatchSize(None)
    for seconds in [9.0] * (SAMPLES - 1) + [1.0]:
        size.took(1, 100, seconds)
    for seconds in [2.0] * SAMPLES:
        size.took(2, 100, seconds)
    assert size.of(100) == 1, "two images in two seconds are no faster than one in one"


def test_a_found_size_has_an_end() -> None:
    assert run(BatchSize(None), 100) == LARGEST


def test_batches_that_are_not_full_teach_nothing() -> None:
    size = BatchSize(None)
    run(size, 100, batches=SAMPLES)
    for _ in range(10 * SAMPLES):
        size.took(1, 100, 1.0)
    assert size.of(100) == 2


def test_passes_share_a_heavy_batch_and_each_takes_a_whole_light_one() -> None:
    light, heavy = 2**21 // 4, 2**21 // 4 + 1
    assert BatchSize(4).of(light, passes=2) == 4
    assert [BatchSize(4).of(heavy, passes) for passes in (1, 2, 3, 8)] == [4, 2, 2, 1]


def test_a_size_is_found_for_each_of_several_passes_however_heavy_the_images() -> None:
    seconds = {1: 1.0, 2: 1.1, 4: 1.3, 8: 2.6}
    assert run(BatchSize(None), 2**21, seconds, passes=2) == 4


@pytest.mark.parametrize("asked", [8, None])
def test_what_ran_out_of_memory_is_not_tried_again(asked: int | None) -> None:
    size = BatchSize(asked, _images=8)
    size.too_large(8, 100)
    assert size.of(100) == 4
    assert run(size, 100) == 4


def test_smaller_images_may_share_what_larger_ones_could_not() -> None:
    size = BatchSize(8)
    size.too_large(8, 400)
    assert [size.of(400), size.of(200), size.of(100)] == [4, 8, 8]


def test_a_single_image_is_always_tried() -> None:
    size = BatchSize(4)
    size.too_large(1, 100)
    assert size.of(100) == 1


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))


@pytest.mark.parametrize(
    "text",
    ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"],
)
def test_a_full_device_is_full_whoever_says_so_and_is_not_lost(text: str) -> None:
    assert out_of_memory(torch.AcceleratorError(text))
    assert not device_lost(torch.AcceleratorError(text))


def test_a_device_that_failed_is_lost() -> None:
    assert device_lost(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert not device_lost(ValueError("shapes cannot be multiplied"))
