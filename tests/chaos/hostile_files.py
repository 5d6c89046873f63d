"""Files that somebody who means harm, or a bad disk, might send: of every format that the worker opens."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, features

from maskmill.images.decode import FORMATS
from tests.chaos.hostile_bytes import (
    animation,
    big_chunks,
    bombs,
    compressed_tiff_bomb,
    directory,
    no_images,
    png_chunk,
    png_with,
    with_exif,
)

SEED = 20261123
SIZE = (48, 36)
STORED = frozenset({"stored"})
NO_IMAGE = frozenset({"not_an_image"})
BROKEN = frozenset({"truncated", "not_an_image", "unsupported"})
BOMB = frozenset({"decompression_bomb", "too_large", "out_of_memory"})
HURT = STORED | BROKEN | BOMB
"""Flipped bits may leave the pixels readable, or make the header promise more of them than there may be."""

KINDS = frozenset(
    {"whole", "misnamed", "cut", "flipped", "appended", "prepended", "mode", "animated", "exif", "bomb", "loop"}
    | {"no image"}
)

TRAILER_PERCENT = 95
"""A cut behind this much may take no more than what closes the file; one before it takes pixels."""


@dataclass(frozen=True)
class Hostile:
    """A file, its kind, and the codes that it may end with; `stored` is one."""

    name: str
    kind: str
    data: bytes
    allowed: frozenset[str]


def sound(file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small whole image with detail in it."""
    noise = Image.effect_noise(SIZE, 60)
    image = noise.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else noise.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def files(flips: int) -> list[Hostile]:
    """Each format whole, cut at every percent, with `flips` times some bits flipped, misnamed; then contrivances."""
    dice = random.Random(SEED)
    found: list[Hostile] = []
    for file_format in FORMATS:
        found += of_format(file_format, flips, dice)
    found += [*unusual(), *broken_exif(), *contrived()]
    assert len({hostile.name for hostile in found}) == len(found)
    return found


def sample(number: int) -> list[Hostile]:
    """So many of them, of each kind and format at least one: always the same ones."""
    dice = random.Random(SEED)
    everything = files(flips=20)
    dice.shuffle(everything)
    first: dict[tuple[str, str], Hostile] = {}
    for hostile in everything:
        # A contrivance is the only one of its name; of cuts and flips there are many.
        several = hostile.kind in ("cut", "flipped")
        first.setdefault((hostile.kind, hostile.name.rpartition(".")[2] if several else hostile.name), hostile)
    chosen = list(first.values())
    taken = {hostile.name for hostile in chosen}
    rest = [hostile for hostile in everything if hostile.name not in taken]
    return chosen + rest[: max(0, number - len(chosen))]


def of_format(file_format: str, flips: int, dice: random.Random) -> Iterator[Hostile]:
    """What can be done to any format."""
    whole, suffix = sound(file_format), file_format.lower()
    yield Hostile(f"whole.{suffix}", "whole", whole, STORED)
    for other in ("jpg", "png", "gif", "txt", "exe"):
        yield Hostile(f"{suffix}-named.{other}", "misnamed", whole, STORED)
    for percent in range(1, 100):
        cut = whole[: len(whole) * percent // 100]
        allowed = BROKEN | STORED if percent >= TRAILER_PERCENT else BROKEN
        yield Hostile(f"cut-{percent:02d}.{suffix}", "cut", cut, allowed)
    for number in range(flips):
        yield Hostile(f"flipped-{number:03d}.{suffix}", "flipped", flipped(whole, dice), HURT)
    # Behind a JPEG 2000 codestream its decoder looks for another box.
    yield Hostile(
        f"twice.{suffix}", "appended", whole + whole, STORED | BROKEN if file_format == "JPEG2000" else STORED
    )
    yield Hostile(f"tail.{suffix}", "appended", whole + bytes(5000), STORED)
    yield Hostile(f"head.{suffix}", "prepended", bytes(16) + whole, NO_IMAGE)
    yield Hostile(f"newlines.{suffix}", "prepended", b"\r\n" + whole, NO_IMAGE)


def flipped(data: bytes, dice: random.Random) -> bytes:
    """The same with some bytes changed, half the time in its first 100, where the headers are."""
    changed = bytearray(data)
    reach = min(len(changed), dice.choice((100, len(changed))))
    for _ in range(dice.choice((1, 3, 10, 40))):
        changed[dice.randrange(reach)] = dice.randrange(256)
    return bytes(changed)


def unusual() -> Iterator[Hostile]:
    """Sound files of modes that are seldom seen: all of them are stored."""
    modes = [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    modes += [("TIFF", mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")]
    modes += [("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("GIF", "L"), ("BMP", "1"), ("BMP", "P"), ("WEBP", "RGBA")]
    modes += [("JPEG2000", "L"), ("JPEG2000", "RGBA"), ("PPM", "1"), ("PPM", "L"), ("PPM", "F"), ("AVIF", "RGBA")]
    for file_format, mode in modes:
        name = f"mode-{mode.replace(';', '')}.{file_format.lower()}"
        yield Hostile(name, "mode", sound(file_format, mode), STORED)
    for name, transparency in (("index", 3), ("table", bytes(range(256)))):
        data = sound("PNG", "P", transparency=transparency)
        yield Hostile(f"transparent-{name}.png", "mode", data, STORED)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield Hostile(f"{compression}.tiff", "mode", sound("TIFF", compression=compression), STORED)
    yield Hostile("progressive.jpg", "mode", sound("JPEG", progressive=True), STORED)
    for file_format in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        if file_format not in ("WEBP", "AVIF") or features.check(file_format.lower()):
            yield Hostile(f"animated.{file_format.lower()}", "animated", animation(file_format, 10, SIZE), STORED)
    yield Hostile("frames-10000.gif", "animated", animation("GIF", 10_000, (8, 8)), STORED)
    for size in ((1, 1), (1, 3000), (3000, 1)):
        buffer = io.BytesIO()
        Image.new("RGB", size, (90, 150, 60)).save(buffer, "PNG")
        yield Hostile(f"thin-{size[0]}x{size[1]}.png", "mode", buffer.getvalue(), STORED | {"model_error"})


def broken_exif() -> Iterator[Hostile]:
    """EXIF blocks that lie about the orientation, or are none; they harm no pixel."""
    heads = {"loop": directory("<", [(0x8769, 4, 1, 8)], following=8), "empty": b"", "short": b"II*\0"}
    heads["far"] = b"MM\0*\xff\xff\xff\xff"
    heads["rubbish"] = random.Random(SEED).randbytes(300)
    for value in (0, 9, 65_535):
        heads[f"orientation-{value}"] = directory("<", [(0x0112, 3, 1, value)])
    heads["orientation-text"] = directory("<", [(0x0112, 2, 4, 0x41414141)])
    heads["orientation-twice"] = directory(">", [(0x0112, 3, 1, 6 << 16), (0x0112, 3, 1, 99 << 16)])
    heads["orientation-many"] = directory("<", [(0x0112, 3, 1_000_000, 8)])
    heads["orientation-list"] = directory("<", [(0x0112, 3, 2, 0x00060006)])
    for name, block in heads.items():
        yield Hostile(f"exif-{name}.jpg", "exif", with_exif(sound("JPEG"), b"Exif\0\0" + block), STORED)
        yield Hostile(f"exif-{name}.png", "exif", png_with(sound("PNG"), png_chunk(b"eXIf", block)), STORED)
        yield Hostile(f"exif-{name}.webp", "exif", sound("WEBP", exif=b"Exif\0\0" + block), STORED)


def contrived() -> Iterator[Hostile]:
    """Bombs, loops and things that are no images."""
    for name, data in no_images(SEED).items():
        yield Hostile(name, "no image", data, NO_IMAGE)
    for name, data in bombs().items():
        yield Hostile(name, "bomb", data, BOMB)
    png = sound("PNG")
    for name, data in big_chunks(png).items():
        yield Hostile(name, "bomb", data, BOMB)
    sizes = [(256, 3, 1, 8), (257, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64)]
    for name, data in {
        "loop.tiff": directory("<", sizes, following=8) + bytes(64),
        "loop-two.tiff": directory("<", sizes, following=86) + directory("<", sizes, following=8)[8:] + bytes(64),
        "loop-sub.tiff": directory("<", [*sizes, (330, 4, 1, 8)], following=8) + bytes(64),
        "many-strips.tiff": directory("<", [*sizes[:4], (273, 4, 50_000_000, 8), (279, 4, 50_000_000, 8)]),
        "entries.tiff": b"II*\0\x08\0\0\0\xff\xff" + random.Random(SEED).randbytes(4000),
        "big-strip.tiff": compressed_tiff_bomb(),
        "huge-tag.tiff": directory("<", [*sizes, (37_500, 7, 0xFFFFFFF0, 8)]) + bytes(64),
    }.items():
        yield Hostile(name, "loop", data, STORED | BROKEN | BOMB)
