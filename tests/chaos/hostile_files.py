"""Files that somebody who means harm, or a bad disk, might send: of every format that the worker opens."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from maskmill.decode import FORMATS
from tests.acceptance.images import png_header

SEED = 20261123
SIZE = (48, 36)
WHOLE = frozenset({"stored"})
BROKEN = frozenset({"truncated", "not_an_image", "unsupported"})
ANY = WHOLE | BROKEN | {"decompression_bomb"}
BOMB = frozenset({"decompression_bomb", "truncated", "not_an_image", "out_of_memory", "too_large"})


@dataclass(frozen=True)
class Hostile:
    """A file and the codes that it may end with; `stored` is one."""

    name: str
    data: bytes
    allowed: frozenset[str]


def whole(kind: str, mode: str = "RGB") -> bytes:
    """A small sound image with detail in it."""
    noise = Image.effect_noise(SIZE, 60)
    buffer = io.BytesIO()
    noise.convert(mode).save(buffer, kind)
    return buffer.getvalue()


def files(every_percent: int, flips: int) -> Iterator[Hostile]:
    """Each format whole, cut, flipped and misnamed; then bombs and other contrivances."""
    dice = random.Random(SEED)
    for kind in FORMATS:
        sound, suffix = whole(kind), kind.lower()
        yield Hostile(f"whole.{suffix}", sound, WHOLE)
        for other in ("jpg", "png", "txt", "exe"):
            yield Hostile(f"whole-{suffix}-as.{other}", sound, WHOLE)
        for percent in range(1, 100, every_percent):
            cut = sound[: len(sound) * percent // 100]
            yield Hostile(f"cut-{percent:02d}.{suffix}", cut, ANY)
        for number in range(flips):
            yield Hostile(f"flipped-{number:03d}.{suffix}", flipped(sound, dice), ANY)
        yield Hostile(f"twice.{suffix}", sound + sound, ANY)
        yield Hostile(f"tail.{suffix}", sound + bytes(5000), WHOLE)
        yield Hostile(f"head.{suffix}", b"\0" * 16 + sound, ANY)
    for mode, kind in (("L", "PNG"), ("1", "PNG"), ("P", "GIF"), ("RGBA", "WEBP"), ("CMYK", "JPEG"), ("I;16", "TIFF")):
        yield Hostile(f"mode-{mode.replace(';', '')}.{kind.lower()}", whole(kind, mode), WHOLE)
    yield from contrived()


def flipped(data: bytes, dice: random.Random) -> bytes:
    """The same with a few bits turned."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 3, 10, 40))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def contrived() -> Iterator[Hostile]:
    """Bombs, loops and things that are no images."""
    texts = {
        "empty": b"",
        "page.html": b"<!doctype html><title>404</title>",
        "archive.zip": b"PK\x03\x04" + bytes(200),
        "paper.pdf": b"%PDF-1.7\n" + bytes(200),
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n",
        "zeros.bin": bytes(100_000),
        "random.bin": random.Random(SEED).randbytes(100_000),
    }
    for name, data in texts.items():
        yield Hostile(name, data, frozenset({"not_an_image"}))
    yield Hostile("bomb.png", png_header(60_000, 60_000), BOMB)
    yield Hostile("bomb-idat.png", _png_of_zeros(20_000, 20_000), BOMB)
    yield Hostile("bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",", BOMB)
    yield Hostile(
        "bomb.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *6 * (0,)), BOMB
    )
    yield Hostile("bomb.ppm", b"P6 60000 60000 255\n", BOMB)
    yield Hostile("bomb-text.png", _with_text(whole("PNG"), 2**26), ANY)
    yield Hostile("loop.tiff", _tiff_loop(), ANY)
    yield Hostile("frames.gif", _animation(2000), WHOLE)
    yield Hostile("exif.jpg", _with_exif(b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(60)), ANY)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_of_zeros(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(2**20)) for _ in range((width + 1) * height >> 20)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _with_text(png: bytes, characters: int) -> bytes:
    text = _chunk(b"zTXt", b"note\0\0" + zlib.compress(b"a" * characters))
    return png[:33] + text + png[33:]


def _tiff_loop() -> bytes:
    """A directory of which the next is itself."""
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64)]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 8) + bytes(64)


def _animation(frames: int) -> bytes:
    buffer = io.BytesIO()
    first, *others = [Image.new("P", (16, 16), n % 256) for n in range(frames)]
    first.save(buffer, "GIF", save_all=True, append_images=others)
    return buffer.getvalue()


def _with_exif(exif: bytes) -> bytes:
    jpeg = whole("JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
