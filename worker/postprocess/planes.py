"""Score planes at low resolution that compete for the pixels of a larger image, without a full-size copy of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from worker.postprocess import cells
from worker.postprocess.axis import Size, resized

FEW_VALUES = 2**22
"""Up to so many output values (16 MiB in float32), the planes are resized as they are: cells would cost as much for
smooth masks and several times more for ragged ones."""
VALUES_OF_A_SAMPLE = 4
"""How many output values cost what one low-resolution value costs that is made part of cells."""
CHUNK_VALUES = 2**24
"""Output values of the planes that are resized together: 64 MiB in float32."""


class LabelMap(Protocol):
    """A label for every pixel of an image."""

    def areas(self, count: int) -> Tensor:
        """Pixels (int64) of each of the `count` labels."""

    def paint(self, table: Tensor) -> Tensor:
        """The map (H × W) with each label replaced by its entry in `table`."""


@dataclass(frozen=True)
class DenseMap:
    """A label map that is one tensor (H × W)."""

    labels: Tensor

    def areas(self, count: int) -> Tensor:
        """See `LabelMap`."""
        return self.labels.flatten().bincount(minlength=count)

    def paint(self, table: Tensor) -> Tensor:
        """See `LabelMap`."""
        return table.take(self.labels.long())


@dataclass(frozen=True)
class Planes:
    """K ≥ 1 planes (K × h × w) that become `size` (H, W) by bilinear interpolation and are then scaled by `scale` (K).

    Downsampled, of few values or in half precision (where the stock result depends on every rounding), they are
    resized a few at a time by the stock function itself. Upsampled ones go by cells, see `cells`.
    """

    values: Tensor
    size: Size
    scale: Tensor | None = None
    antialias: bool = False

    def winners(self) -> LabelMap:
        """For every pixel the first of the planes whose value is highest, as `argmax` does."""
        return cells.winners(self.values, self.scale, self._grid) if self._by_cells else DenseMap(self._running())

    def areas_above(self, threshold: float) -> Tensor:
        """For each plane the number of pixels (K, int64) whose value is at least the threshold."""
        if self._by_cells:
            return cells.areas_above(self.values, self.scale, self._grid, threshold)
        # Ones and zeros as floats are summed at twice the pace of booleans, and exactly within a row.
        above = torch.empty(self.size, device=self.values.device)
        planes = (plane for _, part in self._resized() for plane in part)
        areas = [torch.ge(plane, threshold, out=above).sum(1).sum(dtype=torch.float64) for plane in planes]
        return torch.stack(areas).long()

    @cached_property
    def _grid(self) -> cells.Grid:
        height, width = self.values.shape[1:]
        return cells.Grid.of((height, width), self.size, self.antialias, self.values.device)

    @cached_property
    def _by_cells(self) -> bool:
        planes, height, width = self.values.shape
        larger = self.size[0] >= height and self.size[1] >= width
        many = planes * (self.size[0] * self.size[1] - VALUES_OF_A_SAMPLE * height * width) > FEW_VALUES
        return larger and many and self.values.dtype == torch.float32

    def _resized(self) -> Iterator[tuple[int, Tensor]]:
        """The planes at full size, some at a time, with the index of the first."""
        step = max(1, CHUNK_VALUES // (self.size[0] * self.size[1]))
        if step >= len(self.values):
            yield 0, self._whole
            return
        for first in range(0, len(self.values), step):
            yield first, self._part(slice(first, first + step))

    @cached_property
    def _whole(self) -> Tensor:
        """All planes at full size, of which there are few: kept, because winners and areas both look at them."""
        return self._part(slice(None))

    def _part(self, planes: slice) -> Tensor:
        part = resized(self.values[planes], self.size, self.antialias)
        return part if self.scale is None else part.mul_(self.scale[planes, None, None])

    def _running(self) -> Tensor:
        """The winners over all parts of the planes."""
        dtype = cells.label_dtype(len(self.values))
        parts = self._resized()
        _, part = next(parts)
        highest, label = part.max(0)
        label = label.to(dtype)
        for first, part in parts:
            value, index = part.max(0)
            label = torch.where(value > highest, (index + first).to(dtype), label)
            highest = torch.maximum(value, highest)
        return label
