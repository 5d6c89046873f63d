"""Values of more than 8 bits from files whose header Pillow has read, and JPEG XL: where Pillow gives 8 bits or errors.

imagecodecs reads them: Pillow keeps a rounded high byte of 16-bit JPEG 2000 colours, in which white overflows to black
(Pillow#6194), and no more than the high byte of other colours.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from PIL import ImageFile

from maskmill.errors import ImageTruncated, ImageUnsupported
from maskmill.images.brightness import Samples
from maskmill.images.notes import transparent
from maskmill.schema import ImageWarning

SIZ = b"\xff\x4f\xff\x51"
"""Where a JPEG 2000 codestream begins (ISO 15444-1, A.4.1 and A.5.1)."""

SYCC, CMYK = 18, 12
"""Enumerated colour spaces of JP2 (ISO 15444-1, I.5.3.3; 15444-2)."""

JXL_STREAM, JXL_FILE = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
"""How a bare JPEG XL codestream and one in a container begin (ISO 18181)."""

JXL_SIZES = (9, 13, 18, 30)
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def samples_of(image: ImageFile.ImageFile, data: bytes) -> Samples | None:
    """The values of an opened image, None for one of 8 bits, which Pillow reads right."""
    match image.format:
        case "PNG" if data[24:25] == b"\x10":
            return Samples(_codecs().png_decode(data), 65535.0)
        case "JPEG2000":
            return _jpeg_2000(data)
        case "PPM":
            return _portable(image, data)
    if image.mode.startswith("I;16"):
        return Samples(np.asarray(image), 65535.0)
    return Samples(np.asarray(image)) if image.mode in ("I", "F") else None


def colours_of(samples: Samples) -> tuple[Samples, list[ImageWarning]]:
    """The same without alpha, which a second or fourth band is in these formats; and whether it hid anything."""
    values = samples.values
    if values.ndim == 2 or values.shape[-1] == 3:
        return samples, []
    if values.shape[-1] not in (1, 2, 4):
        raise ImageUnsupported(f"{values.shape[-1]} bands: convert it to RGB")
    notes = [] if values.shape[-1] == 1 or (values[..., -1] >= (samples.white or 0)).all() else [transparent()]
    return Samples(values[..., :3] if values.shape[-1] == 4 else values[..., 0], samples.white), notes


def jpeg_xl(data: bytes) -> tuple[Samples, list[ImageWarning]]:
    """A JPEG XL image, turned upright by its decoder; whole ranges are black to white, of floats 0 to 1."""
    codecs = _codecs()
    values = codecs.jpegxl_decode(data, index=0)
    white = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    return colours_of(Samples(values, white))


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Width and height as the header of a JPEG XL file has them (ISO 18181-1, D.2), before anything is decoded."""
    start = 0 if data.startswith(JXL_STREAM) else _jpeg_xl_stream(data)
    if start < 0 or len(data) < start + 16:
        raise ImageTruncated("JPEG XL: ends in its header")
    bits = int.from_bytes(data[start + 2 : start + 16], "little")

    def take(number: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << number) - 1), bits >> number
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(JXL_SIZES[take(2)]) + 1

    height, ratio = side(), take(3)
    times, part = JXL_RATIOS[ratio - 1]
    return (height * times // part if ratio else side()), height


def _jpeg_xl_stream(data: bytes) -> int:
    """Where the codestream begins in a container: in its box jxlc, or behind the number in its first jxlp."""
    found = re.search(rb"jxlc\xff\x0a|jxlp....\xff\x0a", data[: 2**20], re.DOTALL)
    return found.end() - 2 if found else -1


def _codecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise ImageUnsupported(
            "JPEG XL, and PNG and JPEG 2000 of more than 8 bits, are read with maskmill[worker], which is not "
            "installed here"
        ) from None
    return imagecodecs


def _jpeg_2000(data: bytes) -> Samples | None:
    start = data.find(SIZ)
    components = struct.unpack_from(">H", data, start + 40)[0] if start >= 0 else 0
    depths = {data[start + 42 + 3 * each] for each in range(components)}
    if max(depths, default=0) & 0x7F < 8 or b"pclr" in data[:start]:
        return None
    colour = re.search(rb"colr\x01..(....)", data[:start], re.DOTALL)
    if len(depths) > 1 or (colour and int.from_bytes(colour[1], "big") in (SYCC, CMYK)):
        raise ImageUnsupported("JPEG 2000: wide components of several depths, or not RGB: convert it to RGB")
    depth = depths.pop()
    return Samples(_codecs().jpeg2k_decode(data), None if depth & 0x80 else float(2 ** ((depth & 0x7F) + 1) - 1))


def _portable(image: ImageFile.ImageFile, data: bytes) -> Samples | None:
    """PGM, PPM and PFM. The header's maxval is white."""
    if image.mode == "F":
        image.load()
        return Samples(np.asarray(image))
    tile: Any = image.tile[0]
    white = 65535 if tile.args == "I;16B" else tile.args[1] if isinstance(tile.args, tuple) else 255
    if white < 256:
        return None
    shape = (image.height, image.width, 3) if image.mode == "RGB" else (image.height, image.width)
    count, body = int(np.prod(shape)), data[tile.offset :]
    if tile.codec_name == "ppm_plain":
        values = np.array(body.split(maxsplit=count)[:count], np.int64)
    else:
        values = np.frombuffer(body[: 2 * count], ">u2")
    if len(values) < count or values.min(initial=0) < 0:
        raise ImageTruncated("PPM: ends before all pixels are there")
    return Samples(np.minimum(values, white).astype(np.uint16).reshape(shape), float(white))
