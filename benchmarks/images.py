"""Seeded images on disk: written once into a cache folder, or linked under distinct names."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from benchmarks.scale import say
from demo.scenes import generate_scene
from tests.exactness.photographs import photographs

SEED = 3_000_000
"""Far from every seed that the demo model was trained or tested on."""

SIZES = ((160, 160), (200, 160), (160, 200), (240, 180), (256, 192), (320, 240), (240, 320), (320, 180))
"""Width and height of the small images, in turn."""

LANDSCAPE = ("china.jpg", "flower.jpg", "rocket.jpg", "coffee.png")
"""The four photographs of 640 by 427 pixels."""

PORTRAIT_BOX = (160, 0, 480, 427)
"""Left, top, right, bottom of the portrait crops: 320 by 427 pixels."""

LINKS_PER_FOLDER = 1000


def cache() -> Path:
    """This user's folder for images and models that every run would make alike; it may be removed at any time."""
    return Path(tempfile.gettempdir()) / f"maskmill-benchmarks-{os.getuid()}"


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The cache's folder of this name, made in one step by `make` unless it is there."""
    folder = cache() / name
    if not folder.exists():
        say(f"making {folder}")
        draft = folder.with_name(f"{name}.{os.getpid()}")
        draft.mkdir(parents=True)
        make(draft)
        try:
            draft.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return folder


def small_images(count: int) -> list[Path]:
    """Scenes of the demo model as JPEG files, of `SIZES` in turn."""

    def make(folder: Path) -> None:
        for place in range(count):
            image = generate_scene(SEED + place, SIZES[place % len(SIZES)]).image
            image.save(folder / f"{place:06}.jpg", quality=92)

    return sorted(made_once(f"scenes-{count}", make).glob("*.jpg"))


def benchmark_photographs(folder: Path) -> list[Path]:
    """Six photographs: four of 640 by 427 pixels, and crops of 320 by 427 from two of them, as PNG."""
    written = photographs(folder / "wheels")
    landscape = [written[name] for name in LANDSCAPE]
    return landscape + [_portrait(source, folder) for source in landscape[:2]]


def _portrait(source: Path, folder: Path) -> Path:
    path = folder / f"{source.stem}-portrait.png"
    with Image.open(source) as image:
        image.convert("RGB").crop(PORTRAIT_BOX).save(path)
    return path


def linked(sources: list[Path], folder: Path, count: int) -> list[Path]:
    """`count` distinct names for a few files, as hard links in subfolders of a thousand each."""
    paths = []
    for place in range(count):
        source = sources[place % len(sources)]
        path = folder / f"{place // LINKS_PER_FOLDER:04}" / f"{place:06}{source.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _link(source, path)
        paths.append(path)
    return paths


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:  # another file system, or too many links of one file
        shutil.copyfile(source, path)


def transformers_version() -> str:
    """For the names of cached models: another version may draw other weights."""
    return version("transformers")
