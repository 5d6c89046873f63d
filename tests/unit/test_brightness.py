from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskmill.choices import Scale
from maskmill.images.brightness import Samples, eight_bit, is_flat

PICTURE = np.add.outer(np.arange(40), np.arange(60)) / 98
"""0 to 1, with 2,400 pixels: percentile 2 is 48 of them."""


def shown(values: NDArray[np.generic], scale: str = "auto", **facts: float) -> list[int]:
    return eight_bit(Samples(np.asarray([values]), **facts), Scale.parse(scale))[0][0].tolist()


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [("float32", 1), ("float64", 1e-6), ("float16", 100), ("int32", 5000), ("int16", 300), ("u4", 9e8)],
)
@settings(deadline=None)  # the tests' machine may be busy
@given(row=st.integers(0, 39), column=st.integers(0, 59), extreme=st.sampled_from(["min", "max"]))
def test_no_pixel_decides_the_brightness_of_the_others(
    dtype: str, factor: float, row: int, column: int, extreme: str
) -> None:
    values = (PICTURE * factor).astype(dtype)
    before = eight_bit(Samples(values), Scale())[0]
    limits = np.iinfo(dtype) if values.dtype.kind in "iu" else np.finfo(dtype)
    values[row, column] = getattr(limits, extreme)
    after = eight_bit(Samples(values), Scale())[0]
    others = np.ones(values.shape, bool)
    others[row, column] = False
    assert np.abs(before.astype(int) - after)[others].max() <= 2


@pytest.mark.parametrize("over", [1.0, 1.001, 1.5, 255.0, 65536.0])
def test_a_hundredth_of_the_pixels_changes_no_more_than_contrast(over: float) -> None:
    some = PICTURE.copy()
    some[-1, :24] = over
    assert abs(eight_bit(Samples(some), Scale())[0].mean() - eight_bit(Samples(PICTURE), Scale())[0].mean()) < 30


@pytest.mark.parametrize(
    ("scale", "values", "expected", "told"),
    [
        ("minmax", [-100.0, 0.0, 100.0], [0, 128, 255], (-100, 100)),
        ("0:10000", [0, 5000, 10_000, 20_000], [0, 128, 255, 255], (0, 10_000)),
        ("-1:1", [-1.0, 0.0, 1.0, np.nan, np.inf, -np.inf], [0, 128, 255, 0, 255, 0], (-1, 1)),
        ("none", [-5.0, 0.0, 100.4, 255.0, 300.0], [0, 0, 100, 255, 255], (0, 255)),
        ("p0-p50", [0, 1, 2, 3, 4], [0, 128, 255, 255, 255], (0, 2)),
        ("minmax", [-1.7e308, 1.7e308], [0, 255], (-1.7e308, 1.7e308)),
        ("minmax", [np.nan, np.inf], [0, 255], (0, 1)),
        ("minmax", [7.0, 7.0], [0, 0], (7, 7)),
    ],
)
def test_a_scale_says_what_is_black_and_white(
    scale: str, values: list[float], expected: list[int], told: tuple[float, float]
) -> None:
    pixels, used = eight_bit(Samples(np.array([values])), Scale.parse(scale))
    assert pixels[0].tolist() == expected
    assert used == told


@pytest.mark.parametrize(("bits", "expected"), [(16, [0, 0, 1, 128, 255]), (12, [0, 15, 16, 255, 255])])
def test_whole_ranges_keep_their_high_byte(bits: int, expected: list[int]) -> None:
    values = np.array([0, 255, 256, 32768, 65535]) & (2**bits - 1 if bits == 16 else 0xFFFF)
    values = np.minimum(values, 2**bits - 1).astype(np.uint16)
    assert shown(values, white=float(2**bits - 1)) == expected


def test_what_is_no_data_is_black_and_does_not_count() -> None:
    values = np.where(PICTURE > 0.5, -9999.0, PICTURE)
    pixels, (low, high) = eight_bit(Samples(values, nodata=-9999.0), Scale())
    assert 0 <= low < high <= 0.5
    assert pixels[PICTURE > 0.5].max() == 0
    assert eight_bit(Samples(values, nodata=-9999.0, inverted=True), Scale())[0][PICTURE > 0.5].max() == 0


def test_nearly_no_range_is_noticed_whatever_one_pixel_says() -> None:
    dark = (PICTURE * 4095).astype(np.uint16)
    dark[0, 0] = 65535
    assert is_flat(eight_bit(Samples(dark, white=65535.0), Scale())[0])
    assert not is_flat(eight_bit(Samples(dark, white=65535.0), Scale.parse("p2-p98"))[0])


def test_a_large_image_is_sampled_over_rows_and_columns() -> None:
    values = np.zeros((4200, 4200), np.float32)
    values[:, 2100:] = 1
    pixels, used = eight_bit(Samples(values), Scale())
    assert used == (0, 1)
    assert pixels[:, 0].max() == 0
    assert pixels[:, -1].min() == 255


@pytest.mark.parametrize(
    "text", ["", "p98-p2", "p2", "10:0", "5:5", "0:inf", "nan:1", "0-100", "p2-p101", "0:1:2", "٠:١"]
)
def test_what_is_no_scale_is_told_what_there_is(text: str) -> None:
    with pytest.raises(ValueError, match="auto, none, minmax, p2-p98"):
        Scale.parse(text)
