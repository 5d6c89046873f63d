"""PNGs of integer maps, grey or in colours, written and read several times faster than by Pillow.

Written: Pillow tries five filters a row. Measured on segment maps of 640 × 480 (docs/benchmarks.md, G): neighbouring
rows are nearly equal, so what the filter 'up' leaves is runs of zeros, and deflate that looks for nothing but runs is
both the fastest and the smallest. Read: by the Rust crate `png` where kornia-rs, its binding, is installed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import putchunk

from maskmill.errors import one_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREYSCALE, COLOURS = 0, 2
UP = 2
"""Filter type: each byte less the one above it (PNG, 3rd edition, 9.2)."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

IHDR = struct.Struct(">4x4sIIBBBBB")
"""Width, height, bits, kind of pixel, compression, filter method and interlacing (PNG, 3rd edition, 11.2.1)."""

MODES = {(8, GREYSCALE): "L", (16, GREYSCALE): "I;16", (8, COLOURS): "RGB"}
"""Pillow's mode by bits and kind of pixel, of those that Rust reads here."""

MAX_RUST_PIXELS = 2**26
"""Of more Pillow reads, which refuses bombs with an error; memory that Rust is refused is a panic."""


class Decoded(NamedTuple):
    """Pixels as the file has them, H × W or H × W × channels, and Pillow's name for their kind."""

    mode: str
    pixels: NDArray[Any]


def read_png(png: bytes) -> Decoded:
    """The pixels of a whole PNG; for any other bytes raises what Pillow raises, which is no closed set."""
    if (found := _read_by_rust(png)) is not None:
        return found
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return Decoded(image.mode, np.asarray(image))


def why_unread(error: Exception) -> str:
    """What is wrong with bytes that `read_png` raised this for; Pillow's own text names a place in memory."""
    return "it does not begin as one" if isinstance(error, UnidentifiedImageError) else one_line(error)


def _read_by_rust(png: bytes) -> Decoded | None:
    """Grey of 8 and 16 bits and RGB of 8; None for other kinds, without kornia-rs, and for what Pillow shall judge."""
    try:
        kind, width, height, bits, colour, *_, interlaced = IHDR.unpack_from(png, len(SIGNATURE))
    except struct.error:
        return None
    mode = MODES.get((bits, colour))
    if kind != b"IHDR" or mode is None or interlaced or width * height > MAX_RUST_PIXELS or (rust := _rust()) is None:
        return None
    decode = rust.decode_image_png_u8 if bits == 8 else rust.decode_image_png_u16
    try:
        pixels = decode(png, (height, width), "rgb" if colour == COLOURS else "mono")
    except Exception:  # noqa: BLE001 - it has no classes of errors
        return None
    return Decoded(mode, pixels if colour == COLOURS else pixels[..., 0])


@cache
def _rust() -> Any:
    return import_module("kornia_rs.io") if find_spec("kornia_rs") else None


def write_png(pixels: Pixels, chunks: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """H × W or H × W × 3 pixels of 8 or 16 bits as a PNG, with more chunks (type, data) before the image's own."""
    height, width = pixels.shape[:2]
    kind_of_pixel = COLOURS if pixels.ndim == 3 else GREYSCALE
    buffer = io.BytesIO()
    buffer.write(SIGNATURE)
    putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind_of_pixel, 0, 0, 0))
    for kind, data in chunks:
        putchunk(buffer, kind, data)
    putchunk(buffer, b"IDAT", _deflated(_filtered(pixels)))
    putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _filtered(pixels: Pixels) -> NDArray[np.uint8]:
    """The rows as bytes, the high one first, each less the row above it and with its filter type in front."""
    above = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(len(pixels), -1)
    rows = np.empty((above.shape[0], above.shape[1] + 1), np.uint8)
    rows[:, 0] = UP
    rows[0, 1:] = above[0]
    np.subtract(above[1:], above[:-1], out=rows[1:, 1:])
    return rows


def _deflated(rows: NDArray[np.uint8]) -> bytes:
    deflate = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    return deflate.compress(rows.data) + deflate.flush()
