"""Bytes that no encoder writes: headers that promise too much, directories in circles, chunks of too much text."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Sequence

from PIL import Image

from tests.acceptance.images import png_header

SIDE = 60_000
"""Pixels in a row and in a column of what headers promise: twenty times a worker's limit."""


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum (PNG, 3rd edition, 5.3)."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(png: bytes, chunk: bytes) -> bytes:
    """The PNG with another chunk behind its header."""
    behind_header = 33
    return png[:behind_header] + chunk + png[behind_header:]


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    """The JPEG with another first APP1 segment."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def directory(order: str, entries: Sequence[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or offset) each, and the offset of the next (TIFF 6.0)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    packed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return head + struct.pack(f"{order}H", len(entries)) + packed + struct.pack(f"{order}I", following)


def animation(file_format: str, frames: int, size: tuple[int, int]) -> bytes:
    """So many frames, none like the one before."""
    buffer = io.BytesIO()
    mode = "P" if file_format == "GIF" else "RGB"
    first, *others = [Image.new(mode, size, number % 256) for number in range(frames)]
    first.save(buffer, file_format, save_all=True, append_images=others)
    return buffer.getvalue()


def no_images(seed: int) -> dict[str, bytes]:
    """What other programs read, and what nobody does."""
    dice = random.Random(seed)
    return {
        "empty.jpg": b"",
        "byte.png": b"\0",
        "words.png": b"just some words\n" * 40,
        "page.html": b"<!doctype html><title>404</title>",
        "page.jpg": b"\xef\xbb\xbf\n <html><body>login</body></html>",
        "answer.webp": b'{"error": "no such image"}',
        "archive.zip": b"PK\x03\x04" + bytes(200),
        "archive.jpg": b"PK\x03\x04" + dice.randbytes(200),
        "paper.pdf": b"%PDF-1.7\n" + bytes(200),
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n",
        "metafile.wmf": b"\xd7\xcd\xc6\x9a" + bytes(200),
        "elf.png": b"\x7fELF" + bytes(200),
        "icon.ico": b"\0\0\1\0\1\0\x10\x10" + bytes(200),
        "zeros.bmp": bytes(100_000),
        "random.tif": dice.randbytes(100_000),
    }


def bombs() -> dict[str, bytes]:
    """Few bytes that promise, or are, more pixels than fit into the memory."""
    size = struct.pack("<HH", 65_535, 65_535)
    frame = b"," + struct.pack("<HH", 0, 0) + size + b"\0\x08" + bytes(20)
    tiff = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    return {
        "header.png": png_header(SIDE, SIDE),
        "header-most.png": png_header(2**31 - 1, 2**31 - 1),
        "zeros.png": png_of_zeros(20_000, 20_000),
        "screen.gif": b"GIF89a" + size + bytes(3) + b"," + struct.pack("<HHHH", 0, 0, 9, 9) + b"\0\x02",
        "frame.gif": b"GIF89a" + struct.pack("<HH", 9, 9) + bytes(3) + frame,
        "header.bmp": bitmap(SIDE, SIDE),
        "header-most.bmp": bitmap(2**31 - 1, 2**31 - 1),
        "run-length.bmp": bitmap(SIDE, SIDE, bits=8, compression=1) + b"\xff\0" * 100,
        "header.ppm": f"P6 {SIDE} {SIDE} 255\n".encode(),
        "header.pfm": f"Pf\n{SIDE} {SIDE}\n-1.0\n".encode(),
        "header.tiff": directory("<", [*tiff, (278, 4, 1, SIDE), (279, 4, 1, 64)]) + bytes(64),
        "header.webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\0" * 2 + bytes(8),
        "header.jpg": jpeg_header(65_000, 65_000),
        "header.jp2": jpeg2000_header(SIDE, SIDE),
    }


def png_of_zeros(width: int, height: int) -> bytes:
    """A whole PNG, black: 400 KB of deflated zeros for 400 MB of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    part = bytes(2**20)
    data = b"".join(packer.compress(part) for _ in range((width + 1) * height // len(part))) + packer.flush()
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bitmap(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    """A Windows bitmap without its pixels."""
    head = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, *5 * (0,))


def jpeg_header(width: int, height: int) -> bytes:
    """The start of a JPEG: one component of so many pixels, and no scan."""
    tables = b"\xff\xdb\0\x43\0" + bytes([1]) * 64
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    return b"\xff\xd8" + tables + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan + bytes(64)


def jpeg2000_header(width: int, height: int) -> bytes:
    """The start of a JPEG 2000 codestream: its SIZ segment (ISO 15444-1, A.5.1)."""
    sizes = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, width, height, 0, 0, 1) + b"\x07\x01\x01"
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(sizes) + 2) + sizes + b"\xff\x90" + bytes(64)


def compressed_tiff_bomb() -> bytes:
    """One strip of a small image that inflates to 64 MB."""
    strip = zlib.compress(bytes(2**26), 9)
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8 + 2 + 8 * 12 + 4), (277, 3, 1, 1), (279, 4, 1, len(strip))]
    return directory("<", entries) + strip


def big_chunks(png: bytes) -> dict[str, bytes]:
    """PNGs with a text or a profile of 64 MB in a few KB."""
    packed = zlib.compress(b"a" * 2**26, 9)
    chunks = {
        "ztxt": png_chunk(b"zTXt", b"note\0\0" + packed),
        "itxt": png_chunk(b"iTXt", b"note\0\1\0\0\0" + packed),
        "iccp": png_chunk(b"iCCP", b"profile\0\0" + packed),
    }
    return {f"bomb-{name}.png": png_with(png, chunk) for name, chunk in chunks.items()}
