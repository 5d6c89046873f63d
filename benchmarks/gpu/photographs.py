"""Photographs of one size as a camera writes them: parts of those in the wheels, with a sensor's noise."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.images import made_once
from tests.exactness.photographs import photographs

Size = tuple[int, int]
"""Width and height."""

SMALL: Size = (640, 480)
LARGE: Size = (4000, 3000)
LARGE_TINY: Size = (1000, 750)
DIFFERENT = {SMALL: 48, LARGE: 8, LARGE_TINY: 8}

NOISE_STD = 5.0
"""In grey levels: without it a photograph that was made larger is smooth, and quick to decode."""

SMALLEST_PART = 0.6


def photographs_of(size: Size) -> list[Path]:
    """So many different ones as `DIFFERENT` says, written once."""
    width, height = size
    return sorted(made_once(f"photographs-{width}x{height}", partial(_write, size)).glob("*.jpg"))


def _write(size: Size, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as originals:
        sources = list(photographs(Path(originals)).values())
        for index in range(DIFFERENT[size]):
            with Image.open(sources[index % len(sources)]) as image:
                part = _part(ImageOps.exif_transpose(image).convert("RGB"), size, np.random.default_rng(index))
            part.save(folder / f"{index:03}.jpg", quality=92)


def _part(image: Image.Image, size: Size, random: np.random.Generator) -> Image.Image:
    """A part of the size's proportions, at a place of its own."""
    scale = random.uniform(SMALLEST_PART, 1) * min(image.width / size[0], image.height / size[1])
    width, height = size[0] * scale, size[1] * scale
    left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
    large = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    noisy = np.asarray(large) + NOISE_STD * random.standard_normal((size[1], size[0], 3), np.float32)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
