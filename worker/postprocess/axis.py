"""One axis of a bilinear upsampling, cut into cells: the runs of output pixels between two neighbouring samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2.functional import resize  # type: ignore[import-untyped]  # publishes no types

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""


COLOURS = 4
"""Tells a cell's two samples and the one on either side of them apart."""


def resized(planes: Tensor, size: Size, antialias: bool) -> Tensor:
    """Planes (K × h × w) at another size, as the stock post-processing makes them: `interpolate` or torchvision's."""
    if antialias:
        large: Tensor = resize(planes[None], list(size), antialias=True)
        return large[0]
    return interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class Axis:
    """Samples 0 … n−1 make n+1 cells: one between each pair of neighbours, and half a cell outside of either end.

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


def _probe(samples: int, pixels: int, antialias: bool, device: torch.device) -> Tensor:
    """Each pixel's weights of the samples around it, by the sample's index modulo `COLOURS`, on the host.

    They are read off by resizing indicators. Computed from the formula they differ in the last bits, and so does the
    cell of a pixel that lies on a sample, because ATen's compilers fuse multiply and add.
    """
    colours = torch.arange(COLOURS, device=device)[:, None] == torch.arange(samples, device=device) % COLOURS
    indicators = colours.float()[:, :, None].expand(-1, -1, 4).contiguous()
    return resized(indicators, (pixels, 4), antialias)[:, :, 0].cpu()
