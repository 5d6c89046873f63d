"""What post-processing gives for one image, and what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from maskmill_worker.model.postprocess.axis import Size

Found: TypeAlias = tuple[int, int, float | None]
"""A segment's label id, its id in the map, and its score."""


@dataclass(frozen=True)
class Thresholds:
    """The pipeline's three, by its names, with its defaults."""

    threshold: float = 0.9
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.5


@dataclass(frozen=True)
class Segments:
    """`ids` (H × W, uint8 or int32, on the model's device; 0 = no segment) and the segments in the stock order."""

    ids: Tensor
    found: list[Found]


def id_dtype(highest: int) -> torch.dtype:
    """The narrowest integer type for ids up to `highest` that all of torch's functions take."""
    return torch.uint8 if highest <= 255 else torch.int32


def nothing(size: Size, device: torch.device) -> Segments:
    """An image without segments."""
    return Segments(torch.zeros(size, dtype=torch.uint8, device=device), [])
