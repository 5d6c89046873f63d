"""472 TIFFs by an independent writer: the right pixels, or refused. OpenCV, on libtiff, says what the files hold."""

from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from maskmill.errors import ImageUnsupported
from maskmill.images.decode import decode
from tests.unit.tiff_grid import KINDS, Tiff, grid

GRID = grid()


def is_right(shown: NDArray[np.uint8], case: Tiff) -> bool:
    if shown.shape != case.picture().shape:
        return False
    difference = np.abs(shown.astype(int) - case.picture().astype(int))
    if case.lossy:
        return bool(difference.mean() <= 8 and difference.max() <= 60)
    return int(difference.max()) <= (1 if case.kind == "cmyk" else 0)


@pytest.mark.parametrize(("case", "data"), GRID, ids=[str(case) for case, _ in GRID])
def test_a_tiff_is_read_right_or_refused(case: Tiff, data: bytes) -> None:
    if case.readable:
        assert is_right(np.asarray(decode(data, max_pixels=10**6).image), case)
        return
    with suppress(ImageUnsupported):
        assert is_right(np.asarray(decode(data, max_pixels=10**6).image), case)


def test_no_file_of_eight_bits_is_read_wrong() -> None:
    """All that there are: most files have eight bits, and Pillow reads those."""
    wrong = []
    for case, data in grid(10_000, only="uint8"):
        with suppress(ImageUnsupported):
            shown = np.asarray(decode(data, max_pixels=10**6).image)
            wrong += [] if is_right(shown, case) else [str(case)]
    assert wrong == []


def test_the_grid_has_each_kind_and_most_can_be_read() -> None:
    assert len(GRID) == 472
    assert {case.kind for case, _ in GRID} == set(KINDS)
    assert sum(case.readable for case, _ in GRID) > len(GRID) / 2


def test_opencv_finds_in_the_files_what_the_grid_says() -> None:
    found = {str(case): _by_opencv(case, data) for case, data in GRID if case.kind in ("grey", "rgb")}
    read = [name for name, same in found.items() if same is not None]
    assert [name for name in read if not found[name]] == []
    assert len(read) > 15


def _by_opencv(case: Tiff, data: bytes) -> bool | None:
    """Whether OpenCV reads the same values; None for what it does not read, or mistakes (planar files)."""
    if case.lossy or case.bits < 8 or case.bits == 12 or not case.is_clear or case.planar:
        return None
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype != case.values.dtype:
        return None
    found = found.reshape(*found.shape[:2], -1)
    colours = found[..., [2, 1, 0, 3][: found.shape[-1]]] if found.shape[-1] > 1 else found
    return bool(np.array_equal(colours[..., :3], case.values[..., :3]))
