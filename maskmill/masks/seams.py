"""A segment as closed rings through the centres of its own outermost pixels, holes and parts joined by seams.

That is what rasterisers want which fill a polygon's border too (cv2.fillPoly): a ring along the edges of pixels comes
out a pixel too large there, and one ring has no word for a hole. A seam goes to another ring and the same way back, so
it has no area. Seams to holes run in the segment's own pixels and cost nothing; those between parts cross foreign ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskmill.masks.outline import Ints, Outline, Ring
from maskmill.masks.segment_map import SegmentMap

CANDIDATES = 4096
"""Points of a segment that seams between its parts are chosen from; their distances grow with the square."""
DISTANCES = 2**18
"""So many are worked out together."""


@dataclass(frozen=True)
class _Rings:
    """Points in rings, each with the one that follows; the first point of each ring is in `begins`."""

    points: list[tuple[int, int]]
    after: list[int]
    begins: list[int]

    @classmethod
    def of(cls, rings: Sequence[Ring]) -> _Rings:
        ends = np.cumsum([len(ring) for ring in rings])
        begins = ends - [len(ring) for ring in rings]
        after = np.arange(1, ends[-1] + 1)
        after[ends - 1] = begins
        return cls([(x, y) for x, y in np.concatenate(rings).tolist()], after.tolist(), begins.tolist())

    def insert(self, node: int, point: tuple[int, int]) -> int:
        """A new point behind another one."""
        self.points.append(point)
        self.after.append(self.after[node])
        self.after[node] = len(self.points) - 1
        return self.after[node]

    def join(self, node: int, there: int) -> None:
        """Make one ring of two: `a → b` and `q → r → … → q` become `a → q → r → … → q → a → b`."""
        back = self.insert(node, self.points[node])
        arrival = self.insert(there, self.points[there])
        self.after[node], self.after[there] = arrival, back

    def ring(self, begin: int) -> Ring:
        """The whole ring that this point is in, from there."""
        found = [self.points[begin]]
        node = self.after[begin]
        while node != begin:
            found.append(self.points[node])
            node = self.after[node]
        return np.array(found, np.int64)


def part_rings(ids: SegmentMap, segment: int, outline: Outline) -> list[Ring]:
    """One ring a part of the segment: N × 2 pixels (column, row), the part's holes joined to it."""
    if not outline.holes:
        return [_through_centres(ring) for ring in outline.outer]
    corners = outline.outer + outline.holes
    rings = _Rings.of([_through_centres(ring) for ring in corners])
    seams = [
        (rings.insert(edge, point), hole)
        for point, edge, hole in sorted(_to_the_left(ids, segment, rings, np.concatenate(corners), len(outline.outer)))
    ]
    for node, hole in seams:
        rings.join(node, hole)
    return [rings.ring(begin) for begin in rings.begins[: len(outline.outer)]]


def joined(parts: Sequence[Ring]) -> Ring:
    """All parts in one ring, by the shortest seams that join them: a minimum spanning tree."""
    rings = _Rings.of(parts)
    for node, there in _shortest(parts, rings.begins):
        rings.join(node, there)
    return rings.ring(0)


def _through_centres(ring: Ring) -> Ring:
    """Corners moved into the segment: `[[0, 0], [2, 0], [2, 1], [0, 1]]` is around pixels (0, 0) and (1, 0)."""
    leaving = np.roll(ring, -1, axis=0) - ring
    coming = np.roll(leaving, 1, axis=0)
    down, left = np.maximum(leaving, coming)[:, 1] > 0, np.minimum(leaving, coming)[:, 0] < 0
    moved: Ring = ring - np.stack([down, left], axis=1)
    return moved


def _to_the_left(
    ids: SegmentMap, segment: int, rings: _Rings, corners: Ring, parts: int
) -> Iterator[tuple[tuple[int, int], int, int]]:
    """For each hole the way from its leftmost point to the left, in own pixels, until another ring is met.

    That ring begins further left, so that no two holes lead to each other: where, on which of its edges, from where.
    """
    follows = corners[rings.after]
    ends = [*rings.begins[1:], len(corners)]
    for begin, end in list(zip(rings.begins, ends, strict=True))[parts:]:
        hole = min(range(begin, end), key=lambda node: rings.points[node])
        x, y = rings.points[hole]
        foreign = np.flatnonzero(ids[y, :x] != segment)
        left = int(foreign[-1]) + 1 if len(foreign) else 0
        up = (corners[:, 0] == left) & (follows[:, 0] == left) & (follows[:, 1] <= y) & (y < corners[:, 1])
        yield (left, y), int(np.flatnonzero(up)[0]), hole


def _shortest(parts: Sequence[Ring], begins: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Seams that join all parts, nearest first (Prim): a point that is joined already, and one of the next part."""
    step = -(-sum(map(len, parts)) // CANDIDATES)
    points = np.concatenate([part[::step] for part in parts])
    nodes = np.concatenate([begin + np.arange(len(part))[::step] for begin, part in zip(begins, parts, strict=True)])
    owner = np.repeat(np.arange(len(parts)), [-(-len(part) // step) for part in parts])
    distance, nearest = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    latest = 0
    for _ in parts[1:]:
        distance[owner == latest] = np.nan
        for new in _blocks(np.flatnonzero(owner == latest), max(1, DISTANCES // len(points))):
            away = ((points[:, None] - points[new]) ** 2).sum(axis=2)
            least = away.min(axis=1)
            closer = least < distance  # never where it is NaN: those are joined
            distance[closer], nearest[closer] = least[closer], new[away.argmin(axis=1)[closer]]
        there = int(np.nanargmin(distance))
        yield int(nodes[nearest[there]]), int(nodes[there])
        latest = int(owner[there])


def _blocks(numbers: Ints, size: int) -> Iterator[Ints]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
