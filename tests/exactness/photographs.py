"""Real photographs from the scikit-image and scikit-learn wheels, in mixed sizes, modes and file formats."""

import shutil
from collections.abc import Callable
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

from PIL import Image

Writer = Callable[[Path, Path], None]
"""Takes the photograph in the wheel and the path to write, writes the file."""

_SKIMAGE = "skimage.data"
_SKLEARN = "sklearn.datasets.images"
_EXIF_ORIENTATION = 0x0112
_ROTATED_90_CLOCKWISE = 6


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _resize(size: tuple[int, int], source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.resize(size, Image.Resampling.LANCZOS).save(target, quality=92)


def _crop_with_alpha(box: tuple[int, int, int, int], source: Path, target: Path) -> None:
    """A crop with a transparency gradient, which the conversion to RGB must drop."""
    with Image.open(source) as image:
        cropped = image.convert("RGB").crop(box)
    cropped.putalpha(Image.linear_gradient("L").resize(cropped.size))
    cropped.save(target)


def _rotate_by_exif(source: Path, target: Path) -> None:
    """Stores the pixels as they are and asks, through EXIF, to be shown a quarter turn clockwise."""
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _ROTATED_90_CLOCKWISE
    with Image.open(source) as image:
        image.save(target, exif=exif, quality=92)


# Four of 640 by 427, so that a batch of four fills; every other size is alone with its aspect ratio.
_PHOTOGRAPHS: dict[str, tuple[str, str, Writer]] = {
    "china.jpg": (_SKLEARN, "china.jpg", _copy),
    "flower.jpg": (_SKLEARN, "flower.jpg", _copy),
    "camera_grayscale.png": (_SKIMAGE, "camera.png", _copy),
    "rocket.jpg": (_SKIMAGE, "rocket.jpg", _copy),
    "chelsea_exif_rotated.jpg": (_SKIMAGE, "chelsea.png", _rotate_by_exif),
    "coffee.png": (_SKIMAGE, "coffee.png", partial(_resize, (640, 427))),
    "astronaut_rgba.png": (_SKIMAGE, "astronaut.png", partial(_crop_with_alpha, (60, 0, 420, 450))),
    "motorcycle.jpg": (_SKIMAGE, "motorcycle_left.png", partial(_resize, (480, 324))),
}

NAMES = tuple(_PHOTOGRAPHS)


def photographs(folder: Path) -> dict[str, Path]:
    """Writes the eight photographs into `folder`; returns name -> path, in a fixed order.

    Sizes (width by height, as shown): four of 640x427, 512x512 (mode L), 300x451 (a 451x300 JPEG turned by
    its EXIF orientation), 360x450 (mode RGBA), 480x324.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in _PHOTOGRAPHS}
    for name, (package, resource, write) in _PHOTOGRAPHS.items():
        with as_file(files(package) / resource) as source:
            write(source, paths[name])
    return paths
