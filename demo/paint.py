"""Textures and shapes of the synthetic scenes: pure numpy and Pillow, every draw from the generator it is given."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]
Point = tuple[float, float]
Rng = np.random.Generator

SUPERSAMPLE = 3
"""Shapes are drawn this many times too large and reduced, so that their edges are smooth."""


def smooth_noise(rng: Rng, width: int, height: int, across: float, down: float) -> Floats:
    """Cloudy noise of `across` x `down` cells: float32 (height, width), about -1..1."""
    cells = rng.uniform(-1, 1, (max(2, round(down)), max(2, round(across)))).astype(np.float32)
    picture = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def _blend(low: Floats, high: Floats, amount: Floats) -> Floats:
    """Colour from `low` to `high` (3,) by `amount` (H, W), 0..1: float32 (H, W, 3)."""
    mixed: Floats = low + (high - low) * amount[..., None]
    return mixed


def _jitter(rng: Rng, colour: tuple[int, int, int], spread: float) -> Floats:
    return np.asarray(colour, dtype=np.float32) + rng.uniform(-spread, spread, 3).astype(np.float32)


def _rows(width: int, height: int) -> Floats:
    down = np.linspace(0, 1, height, dtype=np.float32)
    return np.repeat(down[:, None], width, axis=1)


def paint_sky(rng: Rng, width: int, height: int) -> Floats:
    """A gradient, deep above and pale below, with faint wide clouds."""
    deep, pale = _jitter(rng, (86, 158, 232), 10), _jitter(rng, (206, 229, 250), 8)
    clouds = np.clip(smooth_noise(rng, width, height, 4, 7), 0, 1)
    return _blend(deep, pale, np.clip(_rows(width, height) * 1.25 + clouds * 0.25, 0, 1))


def paint_grass(rng: Rng, width: int, height: int) -> Floats:
    """Green patches with short upright blades."""
    dark, light = _jitter(rng, (62, 128, 52), 10), _jitter(rng, (132, 190, 82), 10)
    patches = smooth_noise(rng, width, height, 5, 5) * 0.3
    blades = smooth_noise(rng, width, height, 72, 22) * 0.3
    return _blend(dark, light, np.clip(0.5 + patches + blades, 0, 1))


def paint_water(rng: Rng, width: int, height: int) -> Floats:
    """Deep teal with long level ripples."""
    dark, light = _jitter(rng, (10, 72, 122), 8), _jitter(rng, (44, 142, 168), 10)
    swell = smooth_noise(rng, width, height, 3, 8) * 0.25
    ripples = smooth_noise(rng, width, height, 9, 40) * 0.35
    return _blend(dark, light, np.clip(0.45 + swell + ripples, 0, 1))


def paint_sand(rng: Rng, width: int, height: int) -> Floats:
    """Beige dunes with fine grain."""
    dark, light = _jitter(rng, (206, 178, 134), 8), _jitter(rng, (242, 224, 186), 6)
    dunes = smooth_noise(rng, width, height, 4, 9) * 0.35
    grain = smooth_noise(rng, width, height, 80, 80) * 0.2
    return _blend(dark, light, np.clip(0.55 + dunes + grain, 0, 1))


def _turned(points: list[Point], angle: float) -> list[Point]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


def _regular(corners: int, radii: tuple[float, ...]) -> list[Point]:
    """Corners on a circle, their distance from the centre cycling through `radii`; the first is at the top."""
    steps = [2 * math.pi * k / corners - math.pi / 2 for k in range(corners)]
    return [(radii[k % len(radii)] * math.cos(a), radii[k % len(radii)] * math.sin(a)) for k, a in enumerate(steps)]


def _plus(arm: float) -> list[Point]:
    """The twelve corners of a cross inside the unit circle, its arms `2 * arm` times as wide as long."""
    reach = 1 / math.hypot(1, arm)
    wide = arm * reach
    quarter = [(wide, -reach), (wide, -wide), (reach, -wide)]
    return [point for turn in range(4) for point in _turned(quarter, turn * math.pi / 2)]


def _filled(points: list[Point]) -> Callable[[ImageDraw.ImageDraw, float, float], None]:
    def draw(pen: ImageDraw.ImageDraw, centre: float, angle: float) -> None:
        corners = [(centre + x * centre, centre + y * centre) for x, y in _turned(points, angle)]
        pen.polygon(corners, fill=255)

    return draw


def _draw_disc(pen: ImageDraw.ImageDraw, centre: float, _angle: float) -> None:
    pen.ellipse((0, 0, 2 * centre, 2 * centre), fill=255)


def _draw_ring(pen: ImageDraw.ImageDraw, centre: float, _angle: float) -> None:
    pen.ellipse((0, 0, 2 * centre, 2 * centre), fill=255)
    hole = 0.46 * centre
    pen.ellipse((centre - hole, centre - hole, centre + hole, centre + hole), fill=0)


_DRAW: dict[str, Callable[[ImageDraw.ImageDraw, float, float], None]] = {
    "disc": _draw_disc,
    "square": _filled(_regular(4, (1.0,))),
    "triangle": _filled(_regular(3, (1.0,))),
    "star": _filled(_regular(10, (1.0, 0.5))),
    "ring": _draw_ring,
    "cross": _filled(_plus(0.4)),
}


def shape_alpha(kind: str, radius: float, angle: float) -> Floats:
    """Coverage 0..1 of a shape in a square box just around its circle: float32 (D, D), D = ceil(2 * radius)."""
    side = max(4, math.ceil(2 * radius))
    large = side * SUPERSAMPLE
    canvas = Image.new("L", (large, large), 0)
    _DRAW[kind](ImageDraw.Draw(canvas), large / 2, angle)
    reduced = canvas.resize((side, side), Image.Resampling.BOX)
    return np.asarray(reduced, dtype=np.float32) / np.float32(255)


def shape_colours(rng: Rng, colour: tuple[int, int, int], side: int) -> Floats:
    """A lit surface, brighter towards the upper left: float32 (side, side, 3), 0..255."""
    base = _jitter(rng, colour, 16)
    across = np.linspace(-1, 1, side, dtype=np.float32)
    light = 1.0 - 0.16 * (across[None, :] + across[:, None])
    return np.clip(base * light[..., None], 0, 255).astype(np.float32)
