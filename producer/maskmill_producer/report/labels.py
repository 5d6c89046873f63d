"""Where labels go: inside a segment that has room, else beside it, never on another label, seldom on a small segment.

Example: a cat of 300 × 200 pixels has its name in its widest place; one of 9 × 6 has it beside, with a line to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from maskmill.colours import Colour, ink_on
from maskmill_producer.report.lettering import Lettering

GRID = 320
"""Cells along the longer side of the picture in which free places are looked for."""

PADDING = 3
AROUND = ((0, -1), (0, 1), (1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1))
FARTHEST = 3
"""Steps from a segment, each of a label's height, at which its label may lie."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Named:
    """A segment as the picture shows it: its box, its pixels there, what is written for it."""

    id: int
    box: Box
    area: int
    text: Lettering
    colour: Colour

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the label."""
        return self.text.width + 2 * PADDING, self.text.height + PADDING

    @property
    def is_small(self) -> bool:
        """Whether a label would hide much of it."""
        return self.area < 3 * self.size[0] * self.size[1]


@dataclass(frozen=True)
class Label:
    """A label in its place; `target` is the point of the segment to which a line leads, None for one inside of it."""

    of: Named
    box: Box
    target: tuple[float, float] | None

    def draw_line(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw the line, if there is one; those of all labels first, so that none strikes a text through."""
        if self.target:
            left, top, right, bottom = self.box
            near = min(max(self.target[0], left), right), min(max(self.target[1], top), bottom)
            draw.line((*near, *self.target), (0, 0, 0), 3)
            draw.line((*near, *self.target), self.of.colour, 1)

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw the text on its colour."""
        draw.rounded_rectangle(self.box, PADDING, self.of.colour, (0, 0, 0))
        self.of.text.draw(draw, (self.box[0] + PADDING, self.box[1] + PADDING / 2), ink_on(self.of.colour))


class Labels:
    """Free places of one picture; `ids` is its segment map in the size of the picture."""

    def __init__(self, ids: NDArray[np.integer]) -> None:
        self.height, self.width = ids.shape
        self.step = max(1, max(ids.shape) // GRID)
        self.ids = ids[:: self.step, :: self.step]
        self.taken = np.zeros(self.ids.shape, bool)
        self.small = np.zeros(self.ids.shape, bool)

    def place(self, segments: Sequence[Named]) -> Iterator[Label]:
        """A label for each segment that there is a place for; the first ones choose first."""
        for each in segments:
            if each.is_small:
                self.small[self._cells(each.box)] = True
        for each in segments:
            label = (None if each.is_small else self._inside(each)) or self._beside(each)
            if label:
                self.taken[self._cells(label.box)] = True
                yield label

    def _inside(self, segment: Named) -> Label | None:
        """In the middle of the segment's widest place, if that is wide enough."""
        cells = self._cells(segment.box)
        own = (self.ids[cells] == segment.id) & ~self.taken[cells]
        if not own.any():
            return None
        width, height = (length / self.step for length in segment.size)
        room = np.minimum(_room(own) / width, _room(own.T).T / height)
        row, column = np.unravel_index(np.argmax(room), room.shape)
        middle = ((cells[1].start + column + 0.5) * self.step, (cells[0].start + row + 0.5) * self.step)
        box = self._around(middle, segment.size)
        fits = room[row, column] >= 1 and box and not self.taken[self._cells(box)].any()
        return Label(segment, box, None) if fits and box else None

    def _beside(self, segment: Named) -> Label | None:
        """The nearest free place around the segment that hides least of small ones."""
        width, height = segment.size
        left, top, right, bottom = segment.box
        centre = ((left + right) / 2, (top + bottom) / 2)
        best: tuple[float, Box] | None = None
        for distance in range(FARTHEST):
            for across, down in AROUND:
                reach = distance * height * 1.2 + 6
                x = centre[0] + across * ((right - left + width) / 2 + reach)
                y = centre[1] + down * ((bottom - top + height) / 2 + reach)
                box = self._around((x, y), segment.size)
                if box is None or self.taken[self._cells(box)].any():
                    continue
                cost = float(self.small[self._cells(box)].mean()) * 8 + distance
                if best is None or cost < best[0]:
                    best = cost, box
            if best and best[0] <= distance:
                break
        return Label(segment, best[1], self._nearest(segment, best[1])) if best else None

    def _nearest(self, segment: Named, box: Box) -> tuple[float, float]:
        """The segment's point that is nearest to its label; of one that is too small for the grid the middle."""
        cells = self._cells(segment.box)
        rows, columns = np.nonzero(self.ids[cells] == segment.id)
        if not rows.size:
            return (segment.box[0] + segment.box[2]) / 2, (segment.box[1] + segment.box[3]) / 2
        x, y = (cells[1].start + columns) * self.step, (cells[0].start + rows) * self.step
        ways = np.maximum(box[0] - x, x - box[2]).clip(0) ** 2 + np.maximum(box[1] - y, y - box[3]).clip(0) ** 2
        nearest = int(np.argmin(ways))
        return float(x[nearest]), float(y[nearest])

    def _around(self, middle: tuple[float, float], size: tuple[int, int]) -> Box | None:
        """A box about a point, shifted into the picture; None for one that is too large, or would be shifted far."""
        width, height = size
        if width + 2 > self.width or height + 2 > self.height:
            return None
        left = min(max(middle[0] - width / 2, 1), self.width - width - 1)
        top = min(max(middle[1] - height / 2, 1), self.height - height - 1)
        if abs(left + width / 2 - middle[0]) > width or abs(top + height / 2 - middle[1]) > height / 2:
            return None
        return left, top, left + width, top + height

    def _cells(self, box: Box) -> tuple[slice, slice]:
        left, top, right, bottom = box
        rows = slice(max(0, int(top)) // self.step, int(bottom) // self.step + 1)
        return rows, slice(max(0, int(left)) // self.step, int(right) // self.step + 1)


def _room(inside: NDArray[np.bool_]) -> NDArray[np.floating]:
    """For each cell twice the way to the nearest cell outside of its row's run, to the left or to the right."""
    places = np.arange(inside.shape[1])
    before = np.maximum.accumulate(np.where(inside, -1, places), axis=1)
    behind = np.minimum.accumulate(np.where(inside, inside.shape[1], places)[:, ::-1], axis=1)[:, ::-1]
    room: NDArray[np.floating] = 2.0 * np.minimum(places - before, behind - places) - 1
    return np.where(inside, room, 0)
