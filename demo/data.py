"""Training scenes as arrays in memory: drawn once, at the model's input size, by several processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from demo.scenes import MAX_THINGS, Scene, generate_scene

MAX_SEGMENTS = 3 + MAX_THINGS
MASK_STRIDE = 4
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's statistics, which DETR's image processor subtracts and divides by."""


@dataclass(frozen=True)
class Example:
    """One scene at the model's input size, its segments padded to MAX_SEGMENTS.

    image: uint8 (S, S, 3). labels: int64 (N,), -1 where padded. boxes: float32 (N, 4), centre and size, 0..1.
    masks: uint8 (N, S/4, S/4), 255 times the share of each cell that the segment covers.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Examples stacked: pixels float32 (B, 3, S, S) as the image processor gives them, masks float32 0..1."""

    pixels: torch.Tensor
    labels: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor


def _training_size(seed: int) -> tuple[int, int]:
    """Width and height of 130 to 260 pixels on the mean: like a demo image's, but no larger than training needs."""
    rng = np.random.default_rng((seed, 1))
    aspect = 2 ** rng.triangular(-1, 0, 1)
    side = rng.uniform(130, 260)
    return max(96, round(side * math.sqrt(aspect))), max(96, round(side / math.sqrt(aspect)))


def example_of(scene: Scene, side: int) -> Example:
    """The scene squeezed to `side` x `side` pixels."""
    image = scene.image.resize((side, side), Image.Resampling.BILINEAR)
    labels = np.full(MAX_SEGMENTS, -1, dtype=np.int64)
    boxes = np.zeros((MAX_SEGMENTS, 4), dtype=np.float32)
    cells = side // MASK_STRIDE
    masks = np.zeros((MAX_SEGMENTS, cells, cells), dtype=np.uint8)
    for place, segment in enumerate(scene.segments):
        inside = scene.segment_map == segment.id
        labels[place], boxes[place] = segment.label_id, _box(inside)
        solid = Image.fromarray(inside.astype(np.uint8) * 255)
        masks[place] = np.asarray(solid.resize((cells, cells), Image.Resampling.BOX))
    return Example(np.asarray(image), labels, boxes, masks)


def _box(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Centre x, centre y, width and height of a mask, as shares of the image."""
    height, width = inside.shape
    across, down = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    left, right = across[0] / width, (across[-1] + 1) / width
    top, bottom = down[0] / height, (down[-1] + 1) / height
    return np.asarray([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dtype=np.float32)


def _draw(task: tuple[int, int]) -> Example:
    seed, side = task
    return example_of(generate_scene(seed, _training_size(seed)), side)


def draw_examples(seeds: range, side: int, processes: int) -> list[Example]:
    """An example for every seed, in the order of the seeds."""
    with get_context("spawn").Pool(processes) as pool:
        return pool.map(_draw, [(seed, side) for seed in seeds], chunksize=64)


def store_examples(examples: list[Example], path: Path) -> None:
    """Keep drawn examples in one uncompressed .npz file."""
    columns = {name: np.stack([getattr(example, name) for example in examples]) for name in _NAMES}
    np.savez(path, allow_pickle=False, **columns)


def stored_examples(path: Path) -> list[Example]:
    """What `store_examples` kept."""
    with np.load(path) as arrays:
        columns = [arrays[name] for name in _NAMES]
    return [Example(*row) for row in zip(*columns, strict=True)]


_NAMES = tuple(field.name for field in fields(Example))


def collate(examples: list[Example], flips: NDArray[np.bool_]) -> Batch:
    """A batch, with the examples named by `flips` (B,) mirrored left to right."""
    images = torch.from_numpy(np.stack([example.image for example in examples]))
    pixels = images.permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    masks = torch.from_numpy(np.stack([example.masks for example in examples])).float() / 255
    boxes = torch.from_numpy(np.stack([example.boxes for example in examples]))
    mirrored = torch.from_numpy(flips)
    pixels[mirrored] = pixels[mirrored].flip(-1)
    masks[mirrored] = masks[mirrored].flip(-1)
    boxes[mirrored, :, 0] = 1 - boxes[mirrored, :, 0]
    labels = torch.from_numpy(np.stack([example.labels for example in examples]))
    return Batch(pixels.contiguous(memory_format=torch.channels_last), labels, boxes, masks)
