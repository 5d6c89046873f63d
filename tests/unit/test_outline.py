"""Rings along pixel edges give back the very segments, filled by pycocotools; parts and holes are told apart."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.measure import label

from maskmill.masks.outline import Ring, outlines


def filled(rings: list[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels inside any of the rings, as pycocotools fills polygons."""
    if not rings:
        return np.zeros((height, width), bool)
    polygons = [ring.reshape(-1).tolist() for ring in rings]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))) > 0


def area(ring: Ring) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def blocks(seed: int, height: int, width: int, segments: int, block: int) -> NDArray[np.uint16]:
    few = np.random.default_rng(seed).integers(0, segments + 1, (height, width))
    return np.kron(few, np.ones((block, block), int)).astype(np.uint16)


MAPS = (st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.integers(1, 400), st.integers(1, 4))


@given(*MAPS)
@settings(deadline=None)  # the tests' machine may be busy
def test_rings_filled_are_the_segments(seed: int, height: int, width: int, segments: int, block: int) -> None:
    ids = blocks(seed, height, width, segments, block)
    found = outlines(ids)
    assert sorted(found) == sorted(set(np.unique(ids).tolist()) - {0})
    for each, outline in found.items():
        own = ids == each
        assert np.array_equal(filled(outline.outer, *ids.shape) & ~filled(outline.holes, *ids.shape), own)
        assert len(outline.outer) == label(own, connectivity=1, return_num=True)[1]
        assert sum(map(area, outline.outer + outline.holes)) == own.sum()
        assert min(map(area, outline.outer)) > 0 > max(map(area, outline.holes), default=-1)


def test_a_ring_goes_clockwise_from_its_upper_left_corner_by_corners_alone() -> None:
    ids = np.array([[0, 0, 0, 0], [0, 3, 3, 0], [0, 3, 0, 0]], np.uint8)
    assert [ring.tolist() for ring in outlines(ids)[3].outer] == [[[1, 1], [3, 1], [3, 2], [2, 2], [2, 3], [1, 3]]]


def test_a_hole_goes_the_other_way() -> None:
    ids = np.ones((3, 3), np.uint8)
    ids[1, 1] = 0
    assert [area(ring) for ring in outlines(ids)[1].holes] == [-1]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (4, 0), (4, 5)])
def test_a_map_without_segments_has_no_outline(shape: tuple[int, int]) -> None:
    assert outlines(np.zeros(shape, np.uint8)) == {}


def test_the_highest_id_in_a_large_map_keeps_to_itself() -> None:
    ids = np.zeros((3, 20_000), np.uint16)
    ids[1, 19_990:], ids[2, 19_990:] = 65_535, 65_534
    assert {each: outline.outer[0].tolist()[0] for each, outline in outlines(ids).items()} == {
        65_535: [19_990, 1],
        65_534: [19_990, 2],
    }


def test_corners_alternate_between_rows_and_columns() -> None:
    for outline in outlines(blocks(5, 20, 20, 3, 2)).values():
        for ring in outline.outer + outline.holes:
            steps = [tuple(b - a) for a, b in pairwise([*ring, ring[0]])]
            assert all((step[0] == 0) == bool(index % 2) for index, step in enumerate(steps))
