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
        pixel = torch.arange(pixels)
        cell = ((2 * pixel + 1) * samples - pixels).div(2 * pixels, rounding_mode="floor") + 1
        lengths = cell.bincount(minlength=samples + 1)
        place = pixel - (lengths.cumsum(0) - lengths)[cell]
        around = torch.arange(-1, samples + 1).clamp(0, samples - 1)
        taps = _probe(samples, pixels, antialias, device)
        weights = taps.new_full((2, int(lengths.max()), samples + 1), torch.nan)
        for side in (0, 1):
            weights[side, place, cell] = taps[around[cell + side] % 2, pixel]
        weights[1, place, cell] *= (around[cell] != around[cell + 1]).to(taps)  # at the ends both are one sample
        grid = cell * int(lengths.max()) + place
        return cls(around.to(device), weights, grid.to(device), lengths.to(device))


def _probe(samples: int, pixels: int, antialias: bool, device: torch.device) -> Tensor:
    """Weights of the even and of the odd sample next to each pixel (2 × pixels), read off by resizing their indicators.

    Computed from the formula they differ in the last bits, because ATen's compilers fuse multiply and add.
    """
    odd = torch.arange(samples, device=device, dtype=torch.float32) % 2
    indicators = torch.stack([1 - odd, odd])[:, :, None].expand(-1, -1, 4).contiguous()
    return resized(indicators, (pixels, 4), antialias)[:, :, 0]
