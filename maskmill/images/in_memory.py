"""Images that a Python program has in memory, as files: Pillow's, arrays, and bytes of files as they are.

The file decodes to just these pixels: 8 bits as PNG, all else (16 bits, float…) as TIFF, without loss.
"""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from maskmill.errors import SourceError, one_line

ImageInMemory: TypeAlias = Image.Image | npt.NDArray[Any] | bytes | bytearray | memoryview

IN_MEMORY = Image.Image | np.ndarray | bytes | bytearray | memoryview

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

SHAPES = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"


def encoded(image: ImageInMemory) -> bytes:
    """The image as a file; raises `SourceError` with what is wrong with it.

    `encoded(np.zeros((480, 640, 3), np.uint8))` is a PNG, of float32 it is a TIFF. The pixels are those of this
    moment: the caller may write other ones into the same array afterwards.
    """
    try:
        if isinstance(image, Image.Image):
            return _of_picture(image)
        return _of_array(image) if isinstance(image, np.ndarray) else _of_bytes(image)
    except SourceError:
        raise
    except Exception as error:  # a closed image, one whose file breaks off: what Pillow raises is no closed set
        raise SourceError(f"the image cannot be read: {one_line(error)}") from error


def _of_bytes(data: bytes | bytearray | memoryview) -> bytes:
    if not len(data):
        raise SourceError("the image has no bytes")
    return bytes(data)


def _of_picture(image: Image.Image) -> bytes:
    if image.mode in WIDE_MODES:
        return _of_array(np.asarray(ImageOps.exif_transpose(image)))
    exif, orientation = Image.Exif(), image.getexif().get(ExifTags.Base.Orientation)
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    return _png(image if image.mode in PNG_MODES else image.convert("RGB"), exif)


def _of_array(array: npt.NDArray[Any]) -> bytes:
    if 0 in array.shape or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise SourceError(f"an array of shape {array.shape}: an image is {SHAPES}{_cure(array.shape)}")
    values = array[..., 0] if array.shape[2:] == (1,) else array
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    if values.dtype == np.uint8:
        return _png(Image.fromarray(np.ascontiguousarray(values)))
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 8:
        raise SourceError(f"an array of {values.dtype}: an image is of bool, int8 to uint64, or float16 to float64")
    return _tiff(values.astype(values.dtype.newbyteorder("="), copy=False))


def _cure(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return ": give `list(array)` for each image of a batch"
    return ": `array.transpose(1, 2, 0)` puts the colours last" if len(shape) == 3 and shape[0] in (1, 3, 4) else ""


def _png(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, **({"exif": exif} if exif else {}))
    return file.getvalue()


def _tiff(values: npt.NDArray[Any]) -> bytes:
    import tifffile  # 0.1 s, for those alone who have such images

    file, colours = io.BytesIO(), values.ndim == 3
    alpha = ["unassalpha"] if values.shape[2:] == (4,) else None
    kind = "rgb" if colours else "minisblack"
    tifffile.imwrite(file, values, photometric=kind, extrasamples=alpha, metadata=None, software=False)
    return file.getvalue()
