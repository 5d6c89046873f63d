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
    """Nodes in rings: which of the points each is at, and which node follows; each ring's first is in `begins`."""

    points: Ring
    at: list[int]
    after: list[int]
    begins: list[int]

    @classmethod
    def of(cls, rings: Sequence[Ring], more: Sequence[tuple[int, int]] = ()) -> _Rings:
        """`more` points are there for nodes to come."""
        ends = np.cumsum([len(ring) for ring in rings])
        begins = np.append(0, ends[:-1])
        after = np.arange(1, ends[-1] + 1)
        after[ends - 1] = begins
        points = np.concatenate([*rings, np.array(more, np.int64).reshape(-1, 2)])
        return cls(points, list(range(ends[-1])), after.tolist(), begins.tolist())

    def insert(self, node: int, point: int) -> int:
        """A new node behind another one, at this point."""
        self.at.append(point)
        self.after.append(self.after[node])
        self.after[node] = len(self.at) - 1
        return self.after[node]

    def join(self, node: int, there: int) -> None:
        """Make one ring of two: `a → b` and `q → r → … → q` become `a → q → r → … → q → a → b`."""
        back, arrival = self.insert(node, self.at[node]), self.insert(there, self.at[there])
        self.after[node], self.after[there] = arrival, back

    def ring(self, begin: int) -> Ring:
        """The whole ring that this node is in, from there."""
        found, node = [self.at[begin]], self.after[begin]
        while node != begin:
            found.append(self.at[node])
            node = self.after[node]
        return self.points[found]


def part_rings(ids: SegmentMap, segment: int, outline: Outline) -> list[Ring]:
    """One ring a part of the segment: N × 2 pixels (column, row), the part's holes joined to it."""
    inner = [_through_centres(ring) for ring in outline.outer + outline.holes]
    if not outline.holes:
        return inner
    seams = sorted(_to_the_left(ids, segment, outline, inner))
    rings = _Rings.of(inner, [point for point, _, _ in seams])
    number = len(rings.at)
    # On one edge, which goes up, the lowest point comes first: it is the last to be put behind the edge's beginning.
    met = [rings.insert(edge, number + place) for place, (_, edge, _) in enumerate(seams)]
    for node, (_, _, hole) in zip(met, seams, strict=True):
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
    ids: SegmentMap, segment: int, outline: Outline, inner: Sequence[Ring]
) -> Iterator[tuple[tuple[int, int], int, int]]:
    """For each hole the way from its leftmost point to the left, in own pixels, until another ring is met.

    That ring reaches further to the left, so that no two holes lead to each other. Of each way come the pixel where it
    is met, the node where the met edge begins, and the hole's node.
    """
    corners = np.concatenate(outline.outer + outline.holes)
    follows = np.concatenate([np.roll(ring, -1, axis=0) for ring in outline.outer + outline.holes])
    begin = sum(map(len, outline.outer))
    for ring in inner[len(outline.outer) :]:
        leftmost = int(ring[:, 0].argmin())
        x, y = ring[leftmost].tolist()
        foreign = np.flatnonzero(ids[y, :x] != segment)
        left = int(foreign[-1]) + 1 if len(foreign) else 0
        up = (corners[:, 0] == left) & (follows[:, 0] == left) & (follows[:, 1] <= y) & (y < corners[:, 1])
        yield (left, y), int(up.argmax()), begin + leftmost
        begin += len(ring)


def _shortest(parts: Sequence[Ring], begins: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Seams that join all parts, nearest first (Prim): a node that is joined already, and one of the next part."""
    step = -(-sum(map(len, parts)) // CANDIDATES)
    nodes = np.concatenate([begin + np.arange(0, len(part), step) for begin, part in zip(begins, parts, strict=True)])
    owner = np.repeat(np.arange(len(parts)), [-(-len(part) // step) for part in parts])
    x, y = np.concatenate([part[::step] for part in parts]).T.astype(np.float32)
    open_, latest = np.flatnonzero(owner != 0), np.flatnonzero(owner == 0)
    distance, nearest = np.full(len(open_), np.inf, np.float32), np.zeros(len(open_), np.int64)
    while len(open_):
        for new in _blocks(latest, max(1, DISTANCES // len(open_))):
            away = (x[open_, None] - x[new]) ** 2 + (y[open_, None] - y[new]) ** 2
            least = away.argmin(axis=1)
            found = away[np.arange(len(open_)), least]
            closer = found < distance
            distance[closer], nearest[closer] = found[closer], new[least[closer]]
        there = int(distance.argmin())
        yield int(nodes[nearest[there]]), int(nodes[open_[there]])
        latest = np.flatnonzero(owner == owner[open_[there]])
        left = owner[open_] != owner[open_[there]]
        open_, distance, nearest = open_[left], distance[left], nearest[left]


def _blocks(numbers: Ints, size: int) -> Iterator[Ints]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
