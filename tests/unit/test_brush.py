"""Label Studio's run lengths: the SDK's own bytes (see also tests/interop/with_label_studio.py), and pixels again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskmill.export.brush import brush_rle
from maskmill.masks.rle import run_lengths
from tests.exports.brushes import painted

BY_THE_SDK = {
    "of two rows": ([[0, 1], [1, 1]], [0, 0, 0, 16, 57, 27, 252, 96, 22, 255, 192]),
    "single pixels": (np.eye(3), [0, 0, 0, 36, 57, 27, 252, 127, 246, 192, 35, 255, 182, 1, 31, 248]),
    "a whole byte is added": ([[1, 1, 1, 0, 0, 0, 0, 1]], [0, 0, 0, 32, 57, 27, 253, 191, 251, 224, 17, 255, 128]),
    "the longest run": (np.ones((1, 16384)), [0, 1, 0, 0, 57, 27, 255, 255, 255, 255, 0]),
    "a run and its rest": (np.ones((1, 16385)), [0, 1, 0, 4, 57, 27, 255, 255, 255, 255, 224, 0, 127, 224]),
}
"""What `label_studio_sdk.converter.brush.mask2rle` of 2.1.2 gave for these, times 255."""


def encoded(mask: NDArray[np.integer]) -> list[int]:
    return brush_rle(run_lengths(mask.astype(np.uint8).T)[1].tolist())


@pytest.mark.parametrize("case", BY_THE_SDK)
def test_bytes_are_those_of_the_sdk(case: str) -> None:
    mask, wanted = BY_THE_SDK[case]
    assert encoded(np.array(mask)) == wanted


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.integers(1, 300))
def test_what_is_painted_is_the_mask(seed: int, height: int, width: int, block: int) -> None:
    mask = np.kron(np.random.default_rng(seed).integers(0, 2, (height, width)), np.ones((1, block), int))
    mask[0, 0] = 1
    assert np.array_equal(painted(encoded(mask), *mask.shape), mask == 1)
