"""From the bytes of a file to an RGB image, for bytes that may be anything. Pillow is the only decoder."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from maskmill.errors import DecompressionBomb, ImageError, ImageTruncated, ImageUnsupported, NotAnImage

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What is opened, in Pillow's names: the raster formats that its own wheels decode.

Left out on purpose: formats that run an interpreter (EPS, WMF), stubs without a decoder, game textures.
"""

UNSUPPORTED = re.compile(r"unknown pixel mode|unsupported|cannot handle|samples per pixel", re.IGNORECASE)
"""Pillow's words for a sound file of a kind that it does not decode (a TIFF of nine bands…)."""

INFLATED = re.compile(r"decompressed data too large|too much memory used in text", re.IGNORECASE)
"""Pillow's words for a PNG whose texts or colour profile inflate to more than it takes (CVE-2014-9601)."""

TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image of this EXIF orientation is turned upright (Exif 2.32, tag 0x0112)."""

_PILLOW_LIMITS = threading.Lock()


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """The image upright (EXIF orientation applied) as 8-bit RGB; of an animation the first frame.

    8-bit modes become exactly what transformers' `load_image` makes of them, so that masks equal the stock
    pipeline's: alpha is dropped, not composited. Wider greys, which it clips to white, see `_to_eight_bit`.
    `max_pixels` is compared with the header before memory for pixels is taken.

    Raises `NotAnImage`, `ImageTruncated`, `ImageUnsupported` or `DecompressionBomb`, and nothing else but
    `MemoryError`, whatever the bytes are.
    """
    with _pixel_limit(max_pixels):
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                return _to_rgb(_upright(image))
        except (ImageError, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DecompressionBomb(f"more than {max_pixels:,} pixels, the worker's limit") from error
        except UnidentifiedImageError as error:
            raise _not_opened(data) from error
        except Exception as error:  # what Pillow raises for broken files is no closed set
            raise _broken(error) from error


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own pixel checks at `max_pixels`, and its warnings off; both put back afterwards.

    They alone see tiles and frames that are larger than the image, and they know only a module variable:
    hence the lock, and one decoding at a time in a process. Loader processes decode side by side.
    """
    with _PILLOW_LIMITS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _upright(image: Image.Image) -> Image.Image:
    """Like `ImageOps.exif_transpose`, but a broken EXIF block, which harms no pixel, counts as none."""
    try:
        method = TRANSPOSE.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  As above, no closed set.
        return image
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_eight_bit(np.asarray(image)))
    try:
        upright = image.convert("RGB")
    except (ValueError, KeyError) as error:
        raise ImageUnsupported(f"pixel mode {image.mode} cannot be converted to RGB") from error
    upright.info.clear()  # with its EXIF block still on it, the pipeline's `load_image` would turn the image again
    return upright


def _to_eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Greys of 16-bit, 32-bit and floating-point images, shape (height, width), as 0 to 255.

    16-bit values keep their high byte, as Pillow does for 16-bit RGB. 32-bit integers, in which Pillow also
    gives 16-bit PPM, are taken for 8-bit or 16-bit values if all are in that range; else see `_stretched`.
    """
    if values.dtype.kind == "f":
        return _stretched(values)
    low, high = int(values.min()), int(values.max())
    if values.dtype.itemsize == 2 or (low >= 0 and 255 < high <= 65535):
        return (values // 256).astype(np.uint8)
    return values.astype(np.uint8) if 0 <= low <= high <= 255 else _stretched(values)


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values on a scale without a fixed white, as 0 to 255.

    The scale is 0 to 1, 0 to 255 or 0 to 65,535 where that holds all of them, else from their lowest to their
    highest. NaN becomes 0, an infinity the end of the scale.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(finite.min()), float(finite.max())
    white = next((white for white in (1.0, 255.0, 65535.0) if low >= 0 and high <= white), None)
    black, white = (low, high) if white is None else (0.0, white)
    span = max(white - black, np.finfo(np.float64).tiny)
    fraction = np.nan_to_num((np.clip(values, black, white).astype(np.float64) - black) / span)
    eight_bit: NDArray[np.uint8] = np.rint(fraction * 255).astype(np.uint8)
    return eight_bit


def _not_opened(data: bytes) -> ImageError:
    """Why no format took the bytes: they start like one of them, or like none."""
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]) is True:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:  # noqa: BLE001  `Image.open` keeps it to itself.
                return _broken(error, name)
    if not data:
        return NotAnImage("the file is empty")
    page = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return NotAnImage("an HTML or XML page" if page else f"in none of the formats {', '.join(FORMATS)}")


def _broken(error: Exception, name: str = "image") -> ImageError:
    reason = f"{name}: {str(error).partition(chr(10))[0][:160] or type(error).__name__}"
    if INFLATED.search(reason):
        return DecompressionBomb(reason)
    return ImageUnsupported(reason) if UNSUPPORTED.search(reason) else ImageTruncated(reason)
