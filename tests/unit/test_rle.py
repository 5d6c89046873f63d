"""The run lengths of a whole map are those that pycocotools gives for each of its segments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskmill.masks.rle import coco_rle, decoded


def by_pycocotools(ids: NDArray[np.integer]) -> dict[int, str]:
    wanted = [int(each) for each in np.unique(ids) if each]
    return {
        each: coco_mask.encode(np.asfortranarray((ids == each).astype(np.uint8)))["counts"].decode() for each in wanted
    }


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 600), st.integers(1, 5))
def test_maps_of_all_kinds_are_encoded_and_decoded_as_by_pycocotools(
    seed: int, height: int, width: int, segments: int, block: int
) -> None:
    few = np.random.default_rng(seed).integers(0, segments + 1, (height, width))
    ids = np.kron(few, np.ones((block, block), int)).astype(np.uint16)
    found = coco_rle(ids)
    assert found == by_pycocotools(ids)
    for each, counts in found.items():
        assert np.array_equal(decoded(counts, *ids.shape), ids == each)


@pytest.mark.parametrize("ids", [np.zeros((4, 5)), np.ones((4, 5)), np.zeros((0, 5)), np.eye(7), np.ones((1, 70000))])
def test_maps_at_the_edge(ids: NDArray[np.float64]) -> None:
    assert coco_rle(ids.astype(np.uint8)) == by_pycocotools(ids.astype(np.uint8))


def test_runs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="runs of 4 pixels for a mask of 3 × 2"):
        decoded("13", 3, 2)
