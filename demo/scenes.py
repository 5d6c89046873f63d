"""Synthetic panoptic scenes: shapes (things) over sky, grass, water and sand (stuff), with exact segments.

A scene follows from its seed alone. Colour and shape both tell the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo import paint
from demo.quality import Panoptic, panoptic_of_result, panoptic_quality

__all__ = [
    "CLASSES",
    "HELD_OUT_SEEDS",
    "SAMPLE_SEEDS",
    "STUFF",
    "THINGS",
    "TRAINING_SEEDS",
    "VALIDATION_SEEDS",
    "Scene",
    "SceneSegment",
    "generate_scene",
    "panoptic_of_result",
    "panoptic_quality",
]

TRAINING_SEEDS = range(900_000)
VALIDATION_SEEDS = range(900_000, 900_100)
HELD_OUT_SEEDS = range(1_000_000, 1_000_200)
SAMPLE_SEEDS = range(2_000_000, 2_010_000)

THINGS: dict[str, tuple[int, int, int]] = {
    "disc": (214, 40, 48),
    "square": (124, 62, 176),
    "triangle": (244, 128, 24),
    "star": (252, 214, 40),
    "ring": (240, 108, 170),
    "cross": (44, 44, 66),
}
"""Label and mean RGB colour of the classes that are counted one by one."""

STUFF: dict[str, Callable[[paint.Rng, int, int], paint.Floats]] = {
    "sky": paint.paint_sky,
    "grass": paint.paint_grass,
    "water": paint.paint_water,
    "sand": paint.paint_sand,
}
"""Label and texture of the classes that fill a region."""

CLASSES: tuple[str, ...] = (*THINGS, *STUFF)
"""Every label; its place is its label id."""

LAYOUTS: dict[str, tuple[str, ...]] = {
    "meadow": ("sky", "grass"),
    "beach": ("sky", "water", "sand"),
    "lake": ("sky", "water", "grass"),
    "oasis": ("sky", "sand", "grass"),
    "dunes": ("sky", "sand"),
    "sea": ("sky", "water"),
    "riverbank": ("grass", "water"),
    "shore": ("water", "sand"),
    "lawn": ("grass",),
    "desert": ("sand",),
}
"""Name of a landscape and its regions from top to bottom."""

MIN_SIDE, MAX_SIDE = 96, 640
MAX_THINGS = 5
MIN_VISIBLE = 0.88
"""A thing is left out if it would leave another with a smaller share of itself in view."""


@dataclass(frozen=True)
class SceneSegment:
    """One segment of a scene: its id in the map, its class, and whether it is a thing."""

    id: int
    label: str
    label_id: int
    is_thing: bool


@dataclass(frozen=True)
class Scene:
    """An RGB image, its int32 (height, width) map of segment ids from 1, and its segments in order of id."""

    image: Image.Image
    segment_map: NDArray[np.int32]
    segments: tuple[SceneSegment, ...]
    landscape: str

    @property
    def panoptic(self) -> Panoptic:
        """The true segments in the form that `panoptic_quality` takes."""
        return Panoptic(self.segment_map, {segment.id: segment.label for segment in self.segments})


@dataclass
class _Canvas:
    """A scene being painted: float32 (H, W, 3) pixels, the map, the labels by id, and each segment's full area."""

    pixels: paint.Floats
    segment_map: NDArray[np.int32]
    labels: list[str]
    areas: list[int]

    @property
    def short_side(self) -> int:
        return int(min(self.segment_map.shape))


def generate_scene(seed: int, size: tuple[int, int] | None = None) -> Scene:
    """The scene of a seed, at `size` (width, height) or at one that the seed draws: the same on every machine."""
    rng = np.random.default_rng(seed)
    drawn = draw_size(rng)
    width, height = size or drawn
    landscape = str(rng.choice(list(LAYOUTS)))
    canvas = _paint_landscape(rng, landscape, width, height)
    _place_things(rng, canvas)
    return _finish(canvas, landscape)


def draw_size(rng: paint.Rng) -> tuple[int, int]:
    """Width and height, each in MIN_SIDE..MAX_SIDE; the aspect is 1:2 to 2:1, and more often near 1:1."""
    aspect = 2 ** rng.triangular(-1, 0, 1)
    area = math.exp(rng.uniform(math.log(140**2), math.log(450**2)))
    width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
    return _within(width), _within(height)


def _within(side: float) -> int:
    return min(max(round(side), MIN_SIDE), MAX_SIDE)


def _paint_landscape(rng: paint.Rng, landscape: str, width: int, height: int) -> _Canvas:
    """Each region's texture, region below region."""
    labels = LAYOUTS[landscape]
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    region = _regions(rng, len(labels), width, height)
    for place, label in enumerate(labels):
        inside = region == place
        pixels[inside] = STUFF[label](rng, width, height)[inside]
    areas = [int((region == place).sum()) for place in range(len(labels))]
    return _Canvas(pixels, region + 1, list(labels), areas)


def _regions(rng: paint.Rng, count: int, width: int, height: int) -> NDArray[np.int32]:
    """Place 0..count-1 of every pixel's region, split by tilted, straight or wavy lines: int32 (H, W)."""
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    tilt = rng.uniform(-0.12, 0.12)
    region = np.zeros((height, width), dtype=np.int32)
    for k in range(1, count):
        middle = k / count + rng.uniform(-0.06, 0.06)
        wave = rng.choice([0, 0.025]) * np.sin(across * rng.uniform(8, 20) + rng.uniform(0, 6))
        region += (down > middle + tilt * across + wave).astype(np.int32)
    return region


def _place_things(rng: paint.Rng, canvas: _Canvas) -> None:
    """Up to MAX_THINGS shapes, each tried a few times until one leaves every other in view."""
    wanted = int(rng.integers(1, MAX_THINGS + 1))
    for _ in range(wanted):
        kind = str(rng.choice(list(THINGS)))
        for _ in range(12):
            if _try_thing(rng, canvas, kind):
                break


def _try_thing(rng: paint.Rng, canvas: _Canvas, kind: str) -> bool:
    """Paint one shape at a random place; False, with nothing painted, where it would hide too much."""
    height, width = canvas.segment_map.shape
    radius = canvas.short_side * rng.uniform(0.18, 0.28)
    alpha = paint.shape_alpha(kind, radius, rng.uniform(0, 2 * math.pi))
    side = len(alpha)
    top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
    box = (slice(top, top + side), slice(left, left + side))
    if not _stays_visible(canvas, box, alpha > 0.5):
        return False
    _stamp(canvas, box, alpha, paint.shape_colours(rng, THINGS[kind], side), kind)
    return True


def _stays_visible(canvas: _Canvas, box: tuple[slice, slice], solid: NDArray[np.bool_]) -> bool:
    """Whether every segment keeps enough in view once `solid` is put at `box`: things MIN_VISIBLE, stuff half."""
    after = canvas.segment_map.copy()
    after[box][solid] = 0
    visible = np.bincount(after.ravel(), minlength=len(canvas.areas) + 1)[1:]
    floors = [MIN_VISIBLE if label in THINGS else 0.5 for label in canvas.labels]
    return all(left >= floor * area for left, floor, area in zip(visible, floors, canvas.areas, strict=True))


def _stamp(canvas: _Canvas, box: tuple[slice, slice], alpha: paint.Floats, colours: paint.Floats, kind: str) -> None:
    """Paint the shape over what is there and enter it as the next segment."""
    solid = alpha > 0.5
    canvas.pixels[box] += (colours - canvas.pixels[box]) * alpha[..., None]
    canvas.labels.append(kind)
    canvas.areas.append(int(solid.sum()))
    canvas.segment_map[box][solid] = len(canvas.labels)


def _finish(canvas: _Canvas, landscape: str) -> Scene:
    image = Image.fromarray(np.clip(canvas.pixels, 0, 255).astype(np.uint8))
    segments = tuple(
        SceneSegment(place, label, CLASSES.index(label), label in THINGS)
        for place, label in enumerate(canvas.labels, start=1)
    )
    return Scene(image, canvas.segment_map, segments, landscape)
