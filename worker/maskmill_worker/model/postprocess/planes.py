"""Score planes at low resolution that compete for the pixels of a larger image, without a full-size copy of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from maskmill_worker.model.postprocess import cells
from maskmill_worker.model.postprocess.axis import Size, resized, upsampled

FEW_VALUES = 2**22
"""Up to so many output values (16 MiB in float32), the planes are resized as they are: cells would cost as much for
smooth masks and several times more for ragged ones."""
VALUES_OF_A_SAMPLE = 4
"""How many output values cost what one low-resolution value costs that is made part of cells."""
CHUNK_VALUES = 2**24
"""Output values of the planes that are resized together: 64 MiB in float32."""


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Run what is on the CPU in this thread alone: a plane gains nothing from a second core, other processes do."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if device.type == "cpu":
            torch.set_num_threads(threads)


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

    >>> planes = Planes(torch.tensor([[[9.0, 0.0]], [[0.0, 4.0]]]), size=(1, 4))
    >>> planes.winners().paint(torch.tensor([10, 20]))  # 9, 6¾, 2¼, 0 against 0, 1, 3, 4
    tensor([[10, 10, 20, 20]])
    >>> planes.contest(threshold=3)[1]  # how many values of each plane reach 3
    tensor([2, 2])
    """

    values: Tensor
    size: Size
    scale: Tensor | None = None
    antialias: bool = False

    def winners(self) -> LabelMap:
        """For every pixel the first of the planes whose value is highest, as `argmax` does."""
        if self._by_cells:
            return cells.winners(self.values, self.scale, self._grid)
        with one_thread(self.values.device):
            return self._dense(None)[0]

    def contest(self, threshold: float) -> tuple[LabelMap, Tensor]:
        """The winners, and for each plane the number of pixels (K, int64) whose value is at least the threshold."""
        if self._by_cells:
            return self.winners(), cells.areas_above(self.values, self.scale, self._grid, threshold)
        with one_thread(self.values.device):
            return self._dense(threshold)

    @cached_property
    def _grid(self) -> cells.Grid:
        height, width = self.values.shape[1:]
        return cells.Grid.of((height, width), self.size, self.antialias, self.values.device)

    @cached_property
    def _by_cells(self) -> bool:
        planes, height, width = self.values.shape
        many = planes * (self.size[0] * self.size[1] - VALUES_OF_A_SAMPLE * height * width) > FEW_VALUES
        return self._larger and many and self.values.dtype == torch.float32

    def _dense(self, threshold: float | None) -> tuple[DenseMap, Tensor]:
        """All planes, one after the other on the CPU, where they stay in its cache, and in few parts elsewhere.

        Comparisons and labels are floats, which are exact here and faster than booleans and bytes.
        """
        shape, device, areas = self.size, self.values.device, []
        above, better, label = (torch.zeros(shape, device=device) for _ in range(3))
        highest = None
        for first, part in self._parts():
            if threshold is not None:
                # Exact: at most a row's pixels are summed as floats.
                areas += [torch.ge(p, threshold, out=above).sum(1).sum(dtype=torch.float64) for p in part]
            value, index = part.max(0) if len(part) > 1 else (part[0], 0)
            if highest is None:
                highest, label = value.clone(), label + index
            else:
                torch.gt(value, highest, out=better)
                torch.maximum(label, better.mul_(index + first), out=label)
                torch.maximum(highest, value, out=highest)
        return DenseMap(label.to(cells.label_dtype(len(self.values)))), torch.stack(areas).long() if areas else label

    def _parts(self) -> Iterator[tuple[int, Tensor]]:
        """The planes at full size, scaled, some at a time, with the index of the first."""
        if self.values.device.type == "cpu":
            planes = upsampled(self.values, self.size) if self._plain else map(self._stock, self.values[:, None])
            step = 1
        else:
            step = max(1, CHUNK_VALUES // (self.size[0] * self.size[1]))
            planes = map(self._stock, torch.split(self.values, step))
        for number, part in enumerate(planes):
            first = number * step
            yield first, part if self.scale is None else part.mul_(self.scale[first : first + step, None, None])

    def _stock(self, values: Tensor) -> Tensor:
        return resized(values, self.size, self.antialias)

    @property
    def _larger(self) -> bool:
        return self.size[0] >= self.values.shape[1] and self.size[1] >= self.values.shape[2]

    @property
    def _plain(self) -> bool:
        return self._larger and not self.antialias and self.values.dtype == torch.float32
