"""From the bytes of a file to an RGB image, for bytes that may be anything.

Pillow decodes 8-bit pictures, as the stock pipeline does; `tiff` and `wide` read what it does not, or not right.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from maskmill.choices import Scale
from maskmill.errors import DecompressionBomb, ImageError, ImageTruncated, ImageUnsupported, NotAnImage
from maskmill.images import notes, tiff, wide
from maskmill.images.brightness import Samples, eight_bit, is_flat
from maskmill.schema import ImageWarning

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What is opened, in Pillow's names: the raster formats that its own wheels decode; and HEIF with `maskmill[formats]`.

Left out on purpose: formats that run an interpreter (EPS, WMF), stubs without a decoder, game textures.
"""

UNSUPPORTED = re.compile(
    r"unknown pixel mode|unsupported|cannot handle|samples per pixel|not supported|not implemented", re.IGNORECASE
)
"""The decoders' words for a sound file of a kind that they do not decode."""

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

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
"""Of ISO 23008-12; AVIF has brands of its own."""

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are equals. MPO and HEIF say which is the picture (CIPA DC-007); others are previews, depths…"""

_PILLOW_LIMITS = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A decoded image, upright, 8-bit RGB. `scale`: the values that became 0 and 255, of more than 8 bits."""

    image: Image.Image
    scale: tuple[float, float] | None = None
    warnings: tuple[ImageWarning, ...] = ()


def decode(data: bytes, *, max_pixels: int, scale: str | None = None) -> Picture:
    """The image upright (EXIF orientation applied) as 8-bit RGB; of an animation the first frame.

    8-bit modes become exactly what transformers' `load_image` makes of them, so that masks equal the stock
    pipeline's: alpha is dropped, not composited. Of more bits, see `maskmill.choices.Scale`.
    `max_pixels` is compared with the header before memory for pixels is taken.

    Raises `NotAnImage`, `ImageTruncated`, `ImageUnsupported` or `DecompressionBomb`, and nothing else but
    `MemoryError`, whatever the bytes are.
    """
    with _pixel_limit(max_pixels):
        try:
            return _decode(data, max_pixels, Scale.parse(scale or "auto"))
        except (DecompressionBomb, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DecompressionBomb(
                f"more than {max_pixels:,} pixels: `--max-image-pixels`, or MASKMILL_MAX_IMAGE_PIXELS, of the worker "
                "allows more"
            ) from error
        except (ImageError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise _not_opened(data) from error
        except Exception as error:  # what Pillow raises for broken files is no closed set
            raise _broken(error) from error


@cache
def register_formats() -> tuple[str, ...]:
    """The formats that are opened here; an extra's plugin is registered with Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener(thumbnails=False)
    return (*FORMATS, "HEIF")


def _decode(data: bytes, max_pixels: int, scale: Scale) -> Picture:
    if data.startswith(tiff.MAGIC):
        return _decode_tiff(data, max_pixels, scale)
    if data.startswith((wide.JXL_STREAM, wide.JXL_FILE)):
        width, height = wide.jpeg_xl_size(data)
        if width * height > max_pixels:
            raise DecompressionBomb
        return _scaled(*wide.jpeg_xl(data), scale)
    if data[12:16] == b"CgBI":
        raise ImageUnsupported("PNG in Apple's own form (CgBI): `xcrun pngcrush -revert-iphone-optimizations` mends it")
    with Image.open(io.BytesIO(data), formats=register_formats()) as image:
        samples = wide.samples_of(image, data)
        if samples is not None:
            values, warnings = wide.colours_of(samples)
            return _scaled(values, [*warnings, *_frames(image)], scale, TRANSPOSE.get(_orientation(image)))
        image.load()
        return Picture(_to_rgb(_upright(image)), warnings=(*_transparency(image), *_frames(image)))


def _decode_tiff(data: bytes, max_pixels: int, scale: Scale) -> Picture:
    with tiff.picture_page(data, max_pixels) as page:
        if not page.for_pillow:
            samples, warnings = tiff.samples_of(page, data)
            return _scaled(samples, warnings, scale, TRANSPOSE.get(tiff.orientation(page)))
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            image.seek(page.number)
            image.load()
            return Picture(_to_rgb(_upright(image)), warnings=(*page.notes, *_transparency(image)))


def _scaled(
    samples: Samples, warnings: list[ImageWarning], scale: Scale, method: Image.Transpose | None = None
) -> Picture:
    wide_values = samples.values.dtype != np.uint8  # of others, such as WebP in TIFF, black and white are known
    shown, used = eight_bit(samples, scale if wide_values else Scale())
    if wide_values and is_flat(shown):
        warnings = [*warnings, notes.low_contrast(*used)]
    image = Image.fromarray(shown).convert("RGB")
    upright = image if method is None else image.transpose(method)
    return Picture(upright, used if wide_values else None, tuple(warnings))


def _frames(image: Image.Image) -> list[ImageWarning]:
    """That there are others than the first. Asked last, for it may move the image to another one."""
    frames = 1
    if image.format in ANIMATED:
        with suppress(Exception):  # a broken second frame does not harm the first
            frames = getattr(image, "n_frames", 1)
    return [notes.first_frame(frames)] if frames > 1 else []


def _transparency(image: Image.Image) -> list[ImageWarning]:
    return [notes.transparent()] if _shows_through(image) else []


def _shows_through(image: Image.Image) -> bool:
    """Whether anything would, if alpha were not dropped."""
    if image.mode in ("LA", "RGBA", "PA"):
        return image.getchannel("A").getextrema() != (255, 255)
    hidden = image.info.get("transparency")
    if image.mode != "P" or hidden is None:
        return False
    opacity = {hidden: 0} if isinstance(hidden, int) else dict(enumerate(hidden))
    return any(number and opacity.get(index, 255) < 255 for index, number in enumerate(image.histogram()[:256]))


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
    method = TRANSPOSE.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  As above, no closed set.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    try:
        upright = image.convert("RGB")
    except (ValueError, KeyError) as error:
        raise ImageUnsupported(f"pixel mode {image.mode} cannot be converted to RGB") from error
    upright.info.clear()  # with its EXIF block still on it, the pipeline's `load_image` would turn the image again
    return upright


def _not_opened(data: bytes) -> ImageError:
    """Why no format took the bytes: they start like one of them, or like none."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return ImageUnsupported("HEIF (HEIC): install maskmill[formats] where the worker runs")
    if data.startswith(b"\xff\xd8") and re.search(rb"\xff\xf7\x00[\x0b\x11]", data[:4096]):
        return ImageUnsupported("JPEG-LS: convert it to PNG or JPEG")
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
