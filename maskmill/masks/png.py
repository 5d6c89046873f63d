"""PNGs of integer maps, grey or in colours, written and read several times faster than by Pillow.

Written: Pillow tries five filters a row. Measured on segment maps of 640 × 480 (docs/benchmarks.md, G): neighbouring
rows are nearly equal, so what the filter 'up' leaves is runs of zeros, and deflate that looks for nothing but runs is
both the fastest and the smallest. Read: by the Rust crate `png` where kornia-rs, its binding, is installed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, putchunk

from maskmill.errors import one_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREYSCALE, COLOURS = 0, 2
UP = 2
"""Filter type: each byte less the one above it (PNG, 3rd edition, 9.2)."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

IHDR = struct.Struct(">4x4sIIBBBBB")
"""Width, height, bits, kind of pixel, compression, filter method and interlacing (PNG, 3rd edition, 11.2.1)."""

CHUNK, CHECKSUM_BYTES = struct.Struct(">I4s"), 4
"""Bytes of data and kind of a chunk; the data and a checksum of kind and data follow (11.2.2)."""

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


def international_text(png: bytes, keyword: str) -> str | None:
    """The text of this keyword, which may be compressed (11.3.3.4); None if there is none. No pixel is decoded.

    Every chunk's checksum is verified: raises `ValueError` for a file that was cut off or damaged, or is none at all.
    """
    begin, found = keyword.encode() + b"\0", None
    for kind, data in _chunks(png):
        if kind == b"iTXt" and data.startswith(begin):
            found = _text(data[len(begin) :])
    return found


def _text(data: bytes) -> str:
    """What follows the keyword: whether and how it is compressed, its language, the keyword in that, and the text."""
    try:
        (compressed, method), (_language, _translated, text) = data[:2], data[2:].split(b"\0", 2)
        return (_inflated(text, method) if compressed else text).decode()
    except (ValueError, zlib.error) as error:
        raise ValueError("its text is malformed, or very long") from error


def _inflated(data: bytes, method: int) -> bytes:
    inflate = zlib.decompressobj()
    text = inflate.decompress(data, MAX_TEXT_CHUNK)  # as much as Pillow takes
    if method or not inflate.eof:
        raise ValueError("another method, or more text than is wanted")
    return text


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk, up to the last."""
    if not png.startswith(SIGNATURE):
        raise ValueError("it does not begin as one")
    place, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if len(png) < place + CHUNK.size:
            raise ValueError("it is cut off")
        size, kind = CHUNK.unpack_from(png, place)
        end = place + CHUNK.size + size
        data, checksum = png[place + CHUNK.size : end], png[end : end + CHECKSUM_BYTES]
        if len(checksum) < CHECKSUM_BYTES:
            raise ValueError("it is cut off")
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum):
            raise ValueError("it is damaged: a checksum is wrong")
        yield kind, data
        place = end + CHECKSUM_BYTES


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
