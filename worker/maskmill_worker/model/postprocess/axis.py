"""One axis of a bilinear upsampling, cut into cells: the runs of output pixels between two neighbouring samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2.functional import resize  # type: ignore[import-untyped]  # publishes no types

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""


AXES = 64
"""Axes that are kept for images of the same size."""

COLOURS = 4
"""Tells a cell's two samples and the one on either side of them apart."""


def resized(planes: Tensor, size: Size, antialias: bool) -> Tensor:
    """Planes (K × h × w) at another size, as the stock post-processing makes them: `interpolate` or torchvision's."""
    if antialias:
        large: Tensor = resize(planes[None], list(size), antialias=True)
        return large[0]
    return interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


def upsampled(planes: Tensor, size: Size) -> Iterator[Tensor]:
    """Each of the planes (K × h × w, float32 on the CPU) as `resized` makes it larger, bit by bit: 1 × H × W.

    First the columns and then, which is most of the work, whole rows: copied, weighed and added, in half the time of
    ATen's kernel; NumPy's `take` is several times faster than torch's indexing. Each plane lies in the memory of the
    one before.
    """
    (left, right, near, far), (upper, lower, above, below) = (
        Axis.of(samples, pixels, False, planes.device).taps
        for samples, pixels in ((planes.shape[2], size[1]), (planes.shape[1], size[0]))
    )
    before, after = (torch.from_numpy(np.take(planes.numpy(), side, axis=2, mode="clip")) for side in (left, right))
    lines = after.mul_(far).addcmul_(before, near).numpy()
    plane, other = torch.empty(size), torch.empty(size)
    for line in lines:
        np.take(line, lower, axis=0, out=plane.numpy(), mode="clip")
        np.take(line, upper, axis=0, out=other.numpy(), mode="clip")
        yield plane.mul_(below[:, None]).addcmul_(other, above[:, None])[None]


@dataclass(frozen=True)
class Axis:
    """Samples 0 … n−1 make n+1 cells: one between each pair of neighbours, and half a cell outside of either end.

    Two samples a and b that become four pixels lie like this; a pixel belongs to the cell that its centre is in:

        cell      |  0  |     1     |  2  |
        pixel     |  0  |  1  |  2  |  3  |
        value        a   ¾a+¼b ¼a+¾b   b

        samples   0, 0, 1, 1             cell 1 lies between the samples 0 and 1, cell 0 between 0 and 0
        weights   near (1, ·) (¾, ¼) (1, ·), far (0, ·) (¼, ¾) (0, ·), where · is NaN
        lengths   1, 2, 1
        pixels    0, 2, 3, 4             cells of P = 2 pixels each: those of cell 1 are at 2 and 3

    `weights` (2 × P × n+1, float32) are those of a cell's two samples for each of its up to P pixels, NaN where it has
    fewer. `samples` (n+2) are the samples around the cells, ends twice: cell c lies between `samples[c]` and
    `samples[c + 1]`. `pixels` (N) is each output pixel's place in the grid of cells of P pixels, `lengths` (n+1) the
    number of pixels of each cell.
    """

    samples: Tensor
    weights: Tensor
    pixels: Tensor
    lengths: Tensor

    @classmethod
    @lru_cache(AXES)
    def of(cls, samples: int, pixels: int, antialias: bool, device: torch.device) -> Axis:
        """The axis from `samples` to `pixels` values; the weights are those of the device's own interpolation."""
        pixel, taps = torch.arange(pixels), _probe(samples, pixels, antialias, device)
        before = ((2 * pixel + 1) * samples - pixels).div(2 * pixels, rounding_mode="floor")
        before += (taps[(before + 2) % COLOURS, pixel] > 0).long() - (taps[(before - 1) % COLOURS, pixel] > 0).long()
        cell, around = before + 1, torch.arange(-1, samples + 1).clamp(0, samples - 1)
        lengths = cell.bincount(minlength=samples + 1)
        place, most = pixel - (lengths.cumsum(0) - lengths)[cell], int(lengths.max())
        weights = torch.full((2, most, samples + 1), torch.nan)
        weights[0, place, cell] = taps[around[cell] % COLOURS, pixel]
        one = around[cell] == around[cell + 1]  # at the ends, both samples are the same
        weights[1, place, cell] = torch.where(one, 0, taps[around[cell + 1] % COLOURS, pixel])
        grid = cell * most + place
        return cls(around.to(device), weights.to(device), grid.to(device), lengths.to(device))

    @cached_property
    def taps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each output pixel the samples before and after it, and their weights (N each)."""
        most = self.weights.shape[1]
        place, cell = self.pixels % most, self.pixels // most
        return self.samples[cell], self.samples[cell + 1], *self.weights[:, place, cell]


def _probe(samples: int, pixels: int, antialias: bool, device: torch.device) -> Tensor:
    """Each pixel's weights of the samples around it, by the sample's index modulo `COLOURS`, on the host.

    They are read off by resizing indicators. Computed from the formula they differ in the last bits, and so does the
    cell of a pixel that lies on a sample, because ATen's compilers fuse multiply and add.
    """
    colours = torch.arange(COLOURS, device=device)[:, None] == torch.arange(samples, device=device) % COLOURS
    indicators = colours.float()[:, :, None].expand(-1, -1, 4).contiguous()
    return resized(indicators, (pixels, 4), antialias)[:, :, 0].cpu()
