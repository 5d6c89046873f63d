"""Upsampled planes, cell by cell: most cells have one winner that their corners tell; only the others are interpolated.

Bilinear interpolation is a convex combination of a cell's four corners, computed by operations that are monotone in
floating point too. So a label that wins at all four corners wins everywhere between them, and a label that is below
another one at all four corners wins nowhere.

Example: two planes of 2 × 2 samples become 4 × 4 pixels, for which there are 3 × 3 cells (see `Axis`):

    plane 0   9 0     plane 1   0 9     winner at each sample   0 1
              9 0               0 4                             0 1

The cells of the left column have one winner at all corners, plane 0, those of the right one plane 1: their pixels are
not computed. The three in the middle have both. They are the `Blocks` of the `CellMap`, whose pixels are interpolated
for planes 0 and 1 only, however many others there are that are below these at every corner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from maskmill_worker.model.postprocess.axis import Axis, Size

SLAB_VALUES = 2**21
"""Samples of all planes that are looked at together: 8 MiB in float32."""
CHUNK_VALUES = 2**19
"""Pixels of all candidates that are interpolated together: 2 MiB in float32, what a core's cache holds."""
MARGIN = 1e-6
"""Relative: nearer to a threshold than this, a cell's pixels are interpolated, as rounding may take them across."""


@dataclass(frozen=True)
class Grid:
    """The cells of both axes; a cell's index is row × cells in a row + column."""

    rows: Axis
    columns: Axis
    antialias: bool

    @classmethod
    def of(cls, samples: Size, size: Size, antialias: bool, device: torch.device) -> Grid:
        """The grid of cells when planes of `samples` become planes of `size`."""
        rows, columns = (Axis.of(few, many, antialias, device) for few, many in zip(samples, size, strict=True))
        return cls(rows, columns, antialias)

    @cached_property
    def block(self) -> Size:
        """Height and width in pixels of the largest cell."""
        return self.rows.weights.shape[1], self.columns.weights.shape[1]

    @cached_property
    def areas(self) -> Tensor:
        """Pixels of each cell."""
        return (self.rows.lengths[:, None] * self.columns.lengths).flatten()

    def chunks(self, cells: int, candidates: int) -> Iterator[slice]:
        """Slices of so many cells that the pixels of all their candidates stay within `CHUNK_VALUES`."""
        step = max(1, CHUNK_VALUES // (candidates * self.block[0] * self.block[1]))
        return (slice(start, start + step) for start in range(0, cells, step))

    def values(self, corners: Tensor, cells: Tensor) -> Tensor:
        """Pixels (n × P × Q × cells) of cells with the given corners (n × 4 × cells), NaN beyond a smaller cell's.

        `addcmul` is a fused multiply-add, as in ATen's own kernels, which begin with the far sample when they are
        plain and with the near one when they are anti-aliased: so the values are equal to theirs, bit by bit.
        """
        width = len(self.columns.lengths)
        down, across = self.rows.weights[:, :, cells // width], self.columns.weights[:, :, cells % width]
        last, first = (1, 0) if self.antialias else (0, 1)
        sides = corners.view(len(corners), 2, 2, len(cells))
        lines = torch.addcmul(sides[:, :, first, None] * across[first], sides[:, :, last, None], across[last])
        begun = lines[:, first, None] * down[first][:, None]
        return begun.addcmul_(lines[:, last, None], down[last][:, None])


@dataclass(frozen=True)
class Slab:
    """Some lines of samples of all planes, flattened (K × samples), as they are and scaled; and the cells between."""

    first_cell: int
    width: int
    values: Tensor
    scaled: Tensor

    def corners(self, cells: Tensor) -> Tensor:
        """Positions (4 × cells) of the samples around cells that are counted from the slab's first."""
        upper_left = cells + cells // (self.width - 1)
        return upper_left + upper_left.new_tensor([0, 1, self.width, self.width + 1])[:, None]

    def extremes(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest scaled corner of every plane's cells, each K × cells."""
        lines = self.scaled.view(len(self.scaled), -1, self.width)
        low, high = torch.minimum(lines[:, 1:], lines[:, :-1]), torch.maximum(lines[:, 1:], lines[:, :-1])
        low, high = torch.minimum(low[..., 1:], low[..., :-1]), torch.maximum(high[..., 1:], high[..., :-1])
        return low.flatten(1), high.flatten(1)


def slabs(planes: Tensor, scale: Tensor | None, grid: Grid) -> Iterator[Slab]:
    """The planes (K × h × w), a bounded number of lines at a time; neighbours share a line."""
    rows, width = grid.rows.samples, len(grid.columns.samples)
    step = max(1, SLAB_VALUES // (len(planes) * width))
    for top in range(0, len(rows) - 1, step):
        lines = planes.index_select(1, rows[top : top + step + 1])
        values = torch.cat([lines[..., :1], lines, lines[..., -1:]], -1).flatten(1)
        scaled = values if scale is None else values * scale[:, None]
        yield Slab(top * (width - 1), width, values, scaled)


def areas_above(planes: Tensor, scale: Tensor | None, grid: Grid, threshold: float) -> Tensor:
    """For each plane the number of pixels (int64) whose scaled value is at least the threshold."""
    areas = torch.zeros(len(planes), dtype=torch.int64, device=planes.device)
    margin = MARGIN * abs(threshold)
    for slab in slabs(planes, scale, grid):
        low, high = slab.extremes()
        whole = low >= threshold + margin
        sizes = grid.areas[slab.first_cell : slab.first_cell + low.shape[1]]
        areas += torch.where(whole, sizes, 0).sum(1)
        for plane, area in _parts_above(slab, grid, scale, threshold, ~whole & (high >= threshold - margin)):
            areas.index_add_(0, plane, area)
    return areas


def _parts_above(
    slab: Slab, grid: Grid, scale: Tensor | None, threshold: float, partly: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Planes and pixels above the threshold, for each true pair of plane and cell in `partly`."""
    planes, cells = partly.nonzero(as_tuple=True)
    for chunk in grid.chunks(len(cells), 1):
        plane, cell = planes[chunk], cells[chunk]
        values = grid.values(slab.values[plane, slab.corners(cell)][None], cell + slab.first_cell)[0]
        if scale is not None:
            values *= scale[plane]
        yield plane, (values >= threshold).sum((0, 1))


def label_dtype(labels: int) -> torch.dtype:
    """The narrowest type that holds 0 … `labels`, the last for pixels outside of the image."""
    return torch.uint8 if labels <= 255 else torch.int16 if labels < 2**15 else torch.int32


@dataclass(frozen=True)
class Blocks:
    """Cells with several winners: their indices (m) and the labels of their pixels (P × Q × m)."""

    cells: Tensor
    labels: Tensor


@dataclass(frozen=True)
class CellMap:
    """The label of every output pixel: one for each cell (`labels`), but for the cells of `blocks`."""

    grid: Grid
    labels: Tensor
    blocks: Sequence[Blocks]

    def areas(self, count: int) -> Tensor:
        """Pixels (int64) of each of the `count` labels."""
        sizes = self.grid.areas.double()
        for block in self.blocks:
            sizes[block.cells] = 0
        areas = self.labels.bincount(weights=sizes, minlength=count).long()
        for block in self.blocks:
            areas += block.labels.flatten().bincount(minlength=count + 1)[:count]
        return areas

    def paint(self, table: Tensor) -> Tensor:
        """The map (H × W) with each label replaced by its entry in `table`."""
        table = torch.cat([table, table.new_zeros(1)])
        (height, width), rows = self.grid.block, len(self.grid.rows.lengths)
        cells = table[self.labels.int()].view(rows, 1, -1, 1).repeat(1, height, 1, width)
        cells = cells.view(rows, height, -1, width)
        for block in self.blocks:
            row, column = block.cells // cells.shape[2], block.cells % cells.shape[2]
            cells[row, :, column] = table[block.labels.int()].permute(2, 0, 1)
        padded = cells.view(rows * height, -1)
        return padded.index_select(0, self.grid.rows.pixels).index_select(1, self.grid.columns.pixels)


def winners(planes: Tensor, scale: Tensor | None, grid: Grid) -> CellMap:
    """For every pixel the first of the planes whose scaled value is highest."""
    labels: list[Tensor] = []
    blocks: list[Blocks] = []
    for slab in slabs(planes, scale, grid):
        best = _corner_winners(slab)
        labels.append(best[0])
        cells = (best != best[0]).any(0).nonzero()[:, 0]
        blocks.extend(_contests(slab, grid, scale, cells, _contenders(slab, cells, best[:, cells])))
    return CellMap(grid, torch.cat(labels).to(label_dtype(len(planes))), blocks)


def _corner_winners(slab: Slab) -> Tensor:
    """The winning plane at each corner (4 × cells) of all the slab's cells."""
    best = slab.scaled.max(0).indices.view(-1, slab.width)
    return torch.stack([best[:-1, :-1], best[:-1, 1:], best[1:, :-1], best[1:, 1:]]).flatten(1)


def _contenders(slab: Slab, cells: Tensor, best: Tensor) -> Tensor:
    """Which planes may win somewhere in a cell (cells × K): those not below any corner's winner at all corners."""
    at = slab.corners(cells)
    corners = slab.scaled.index_select(1, at.flatten()).view(len(slab.scaled), 4, len(cells))
    contend = torch.ones_like(corners[:, 0], dtype=torch.bool)
    for rival in best:
        contend &= (corners >= slab.scaled[rival, at]).any(1)
    return contend.T


def _contests(slab: Slab, grid: Grid, scale: Tensor | None, cells: Tensor, contend: Tensor) -> Iterator[Blocks]:
    """The blocks of `cells`, which are grouped by how many planes contend for them."""
    counts = contend.sum(1)
    planes = contend.nonzero()[:, 1]  # by cell, then in the planes' order: the first wins a tie
    for count in counts.bincount().nonzero()[:, 0].tolist():
        members = counts == count
        group, candidates = cells[members], planes[members.repeat_interleave(counts)].view(-1, count).T
        for chunk in grid.chunks(len(group), count):
            yield _contest(slab, grid, scale, group[chunk], candidates[:, chunk])


def _contest(slab: Slab, grid: Grid, scale: Tensor | None, cells: Tensor, candidates: Tensor) -> Blocks:
    """The winners among `candidates` (n × cells) in each pixel of the cells."""
    corners = slab.values[candidates[:, None], slab.corners(cells)]
    values = grid.values(corners, cells + slab.first_cell)
    if scale is not None:
        values *= scale[candidates][:, None, None]
    labels = candidates.to(label_dtype(len(slab.values)))[:, None, None].expand_as(values)
    won = labels.gather(0, values.max(0, keepdim=True).indices)[0]
    return Blocks(cells + slab.first_cell, won.masked_fill_(values[0].isnan(), len(slab.values)))
