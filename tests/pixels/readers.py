"""Other readers of images, to compare ours with: OpenCV, Pillow alone, and values shown by the rule written anew."""

from __future__ import annotations

import io
import warnings
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maskmill.images.decode import Picture
from tests.unit.tiff_grid import eight_bit_by_auto

CLOSE = 3
"""OpenCV has another inverse DCT and other weights for YCbCr."""


class Reading(Enum):
    """Which other reader sees the same picture."""

    OPENCV = "OpenCV"
    PILLOW = "Pillow (8 bits)"
    VALUES = "its values"
    DIFFERS = "no other reader sees it so"


def reading(path: Path, picture: Picture) -> Reading:
    """The first reader that agrees. Pillow alone counts for 8 bits only, where the stock pipeline is the measure."""
    shown = np.asarray(picture.image).astype(int)
    data = path.read_bytes()
    if _same(shown, _by_opencv(data), CLOSE):
        return Reading.OPENCV
    if picture.scale is None and _same(shown, _by_pillow(data), 0):
        return Reading.PILLOW
    return Reading.VALUES if _same(shown, _by_values(data, picture), 1) else Reading.DIFFERS


def _same(shown: NDArray[Any], other: NDArray[Any] | None, close: int) -> bool:
    return other is not None and shown.shape == other.shape and int(np.abs(shown - other).max(initial=0)) <= close


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return found[..., ::-1].astype(int) if found is not None and found.ndim == 3 else None


def _by_pillow(data: bytes) -> NDArray[Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
        except Exception:  # noqa: BLE001 - it cannot read it
            return None


def _by_values(data: bytes, picture: Picture) -> NDArray[Any] | None:
    """The values by another decoder than ours where there is one, and black and white by the rule of `auto`."""
    try:
        values, bits, inverted = _values(data, picture.scale[1] if picture.scale else 255)
    except Exception:  # noqa: BLE001 - it cannot read it
        return None
    if values.dtype == np.uint8:
        shown = values
    else:
        shown = eight_bit_by_auto(values, bits if values.dtype.kind == "u" and bits <= 16 else None)
    shown = 255 - shown if inverted else shown
    shown = np.repeat(shown[..., None], 3, axis=-1) if shown.ndim == 2 else shown[..., :3]
    return shown.astype(int)


def _values(data: bytes, white: float) -> tuple[NDArray[Any], int, bool]:
    if data[:2] in (b"II", b"MM"):
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            return page.asarray(), page.bitspersample, page.photometric == 0
    if data[:2] in (b"Pf", b"PF"):
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image), 32, False
    values = imagecodecs.png_decode(data) if data[1:4] == b"PNG" else imagecodecs.jpeg2k_decode(data)
    return values, int(white).bit_length(), False
