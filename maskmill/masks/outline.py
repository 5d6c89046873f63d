"""The outlines of all segments of a map in one pass: exact rings along pixel edges, holes as rings of their own.

Straight edges are found for the whole map at once, and each begins where another one of its segment ends. Where two
pixels of a segment touch at a corner alone, their rings stay apart: parts are what hangs together by edges. A ring
filled by the rule of even and odd gives back the very pixels; that of pycocotools too (`tests/unit/test_outline.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskmill.masks.segment_map import SegmentMap

Ints = NDArray[np.int64]
Ring = NDArray[np.int64]
"""N × 2 corners (x, y) in pixels from the image's upper left corner; the last is joined to the first."""


@dataclass(frozen=True)
class Outline:
    """A segment's rings: `outer`, one a part, clockwise as seen; and `holes`, the other way round."""

    outer: list[Ring] = field(default_factory=list)
    holes: list[Ring] = field(default_factory=list)


@dataclass(frozen=True)
class _Edges:
    """Straight edges with their segment on the right: ids, where each begins and ends, and whether x or y grows."""

    ids: Ints
    begin: Ring
    end: Ring
    forward: NDArray[np.bool_]


def outlines(ids: SegmentMap) -> dict[int, Outline]:
    """The outline of each segment of an H × W map, by its id; ids that have no pixel are absent.

    `outlines(np.array([[0, 3]], np.uint8))[3].outer` is `[[[1, 0], [2, 0], [2, 1], [1, 1]]]`.
    """
    across, down = _edges(ids), _edges(ids.T)
    down = _Edges(down.ids, down.end[:, ::-1], down.begin[:, ::-1], ~down.forward)
    # Right turns, where there is a choice: from going right to going down, from going down to going left.
    following = _meeting(down, across, ~down.forward)[_meeting(across, down, across.forward)]
    order, begins = _in_rings(following.tolist())
    found: dict[int, Outline] = {}
    if order:
        corners = np.stack([across.begin, across.end], axis=1)[order]
        twice = (across.begin[:, 1] * (across.begin[:, 0] - across.end[:, 0]))[order]
        areas = np.add.reduceat(twice, begins)
        for owner, area, ring in zip(across.ids[order][begins], areas, np.split(corners, begins[1:]), strict=True):
            of_segment = found.setdefault(int(owner), Outline())
            (of_segment.outer if area > 0 else of_segment.holes).append(ring.reshape(-1, 2))
    return found


def _edges(ids: SegmentMap) -> _Edges:
    """Edges along rows, ordered by id: a pixel's upper one goes right, its lower one left."""
    height, width = ids.shape
    rows = np.zeros((height + 2, width), ids.dtype)
    rows[1:-1] = ids
    places = np.flatnonzero(rows[1:] != rows[:-1])
    upper = _straight(rows[1:].reshape(-1)[places], places, width)
    lower = _straight(rows[:-1].reshape(-1)[places], places, width)
    owner, line, first, last = (np.concatenate(pair) for pair in zip(upper, lower, strict=True))
    forward = np.arange(len(owner)) < len(upper[0])
    left, right = np.stack([first, line], axis=1), np.stack([last, line], axis=1)
    begin, end = np.where(forward[:, None], left, right), np.where(forward[:, None], right, left)
    order = np.argsort(owner, kind="stable")
    return _Edges(owner[order], begin[order], end[order], forward[order])


def _straight(owners: NDArray[np.integer], places: Ints, width: int) -> tuple[Ints, ...]:
    """Runs of places side by side that one segment owns: id, line, first column, column behind the last."""
    kept = np.flatnonzero(owners)
    owner, place = owners[kept].astype(np.int64), places[kept]
    begins = np.ones(len(kept), bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (place[1:] != place[:-1] + 1) | (place[1:] % max(1, width) == 0)
    starts = np.flatnonzero(begins)
    line, first = np.divmod(place[starts], max(1, width))
    return owner[starts], line, first, first + np.diff(starts, append=len(kept))


def _meeting(edges: _Edges, others: _Edges, wanted: NDArray[np.bool_]) -> Ints:
    """For each edge the other of its segment that begins where it ends; of two that which goes forward as wanted."""
    size = 1 + max(int(each.max(initial=0)) for each in (edges.end, others.begin))
    theirs = 2 * _corner(others.ids, others.begin, size) + others.forward
    ours = _corner(edges.ids, edges.end, size)
    order = np.argsort(theirs)
    at = np.minimum(np.searchsorted(theirs, 2 * ours + wanted, sorter=order), len(order) - 1)
    at -= theirs[order[at]] // 2 != ours
    return order[at]


def _corner(ids: Ints, places: Ring, size: int) -> Ints:
    return (ids * size + places[:, 1]) * size + places[:, 0]


def _in_rings(following: list[int]) -> tuple[list[int], list[int]]:
    """All edges, ring after ring, and where each ring begins; `following` is used up."""
    order: list[int] = []
    begins: list[int] = []
    for first in range(len(following)):
        each = first
        if following[each] >= 0:
            begins.append(len(order))
        while following[each] >= 0:
            order.append(each)
            following[each], each = -1, following[each]
    return order, begins
