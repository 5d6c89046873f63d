"""Rings through pixel centres fill the very segment where cv2 draws the border too; seams join holes and parts."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import label

from maskmill.masks import seams
from maskmill.masks.outline import Outline, Ring, outlines
from maskmill.masks.seams import joined, part_rings
from maskmill.masks.segment_map import SegmentMap


def drawn(ring: Ring, shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [ring.astype(np.int32)], color=1)
    return mask > 0


def segments_of(ids: SegmentMap) -> list[tuple[int, Outline]]:
    return sorted(outlines(ids).items())


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 25), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None)  # the tests' machine may be busy
def test_a_ring_a_part_is_the_part_with_its_holes(
    seed: int, height: int, width: int, segments: int, block: int
) -> None:
    few = np.random.default_rng(seed).integers(0, segments + 1, (height, width))
    ids = np.kron(few, np.ones((block, block), int)).astype(np.uint8)
    for segment, outline in segments_of(ids):
        rings = part_rings(ids, segment, outline)
        parts, number = label(ids == segment, connectivity=1, return_num=True)
        assert len(rings) == number
        for ring in rings:
            x, y = ring[0]
            assert np.array_equal(drawn(ring, ids.shape), parts == parts[y, x])


def test_parts_are_joined_by_the_shortest_way_and_nothing_else_is_added() -> None:
    """Each is nearest to another one than the last that was joined; three gaps of five pixels."""
    ids = np.zeros((40, 60), np.uint8)
    ids[5:15, 5:15] = ids[5:15, 20:30] = ids[20:25, 22:28] = ids[20:25, 5:15] = 1
    ids[8:11, 8:11] = 0
    ring = joined(part_rings(ids, 1, outlines(ids)[1]))
    more = drawn(ring, ids.shape) ^ (ids == 1)
    assert more.sum() == 5 + 5 + 5
    assert not more[:, :5].any()


def test_seams_to_holes_leave_an_edge_one_after_the_other() -> None:
    """Whatever order holes have: no way along the edge is gone twice."""
    ids = np.ones((30, 14), np.uint8)
    ids[3:5, 4:6] = ids[3:21, 8:10] = ids[3:6, 10:12] = 0
    [ring] = part_rings(ids, 1, outlines(ids)[1])
    length = np.abs(np.diff(np.vstack([ring, ring[:1]]), axis=0)).sum()
    assert length == 2 * (13 + 29) + 2 * (3 + 3) + 2 * (5 + 19) + 2 * (3 + 7)  # outside, both holes, both seams


def test_many_parts_are_one_ring_that_goes_around_each_once() -> None:
    ids = np.zeros((60, 60), np.uint8)
    ids[::6, ::6] = 1
    parts = part_rings(ids, 1, outlines(ids)[1])
    ring = joined(parts)
    assert len(ring) == sum(map(len, parts)) + 2 * (len(parts) - 1)
    assert drawn(ring, ids.shape)[::6, ::6].all()


@pytest.mark.parametrize("candidates", [1, 4096])
def test_few_candidates_join_all_parts_too(candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "CANDIDATES", candidates)
    monkeypatch.setattr(seams, "DISTANCES", candidates)
    ids = np.kron(np.eye(5, dtype=np.uint8), np.ones((7, 7), np.uint8))[:, ::-1]
    ring = joined(part_rings(ids, 1, outlines(ids)[1]))
    assert (drawn(ring, ids.shape) | (ids == 0)).all()
    assert len(ring) == 5 * 4 + 2 * 4
