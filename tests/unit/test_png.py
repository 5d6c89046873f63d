"""PNGs are read as Pillow reads them, and by Rust those that it is for."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import kornia_rs.io as rust
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo

from maskmill.errors import InvalidRecord
from maskmill.masks import png as reader
from maskmill.masks.png import international_text, read_png, write_png
from maskmill.masks.segment_map import decode

CHANCE = np.random.default_rng(0)
GREY = CHANCE.integers(0, 4, (30, 41)).repeat(3, axis=1).astype(np.uint8)
COLOURS = CHANCE.integers(0, 256, (17, 5, 3)).astype(np.uint8)
WIDE = (GREY.astype(np.uint16) + 1) * 257 - 1


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def interlaced() -> bytes:
    """A grey pixel in the first of Adam7's seven passes."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\x2a")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


BY_RUST = {
    "grey": saved(Image.fromarray(GREY)),
    "grey, all filters": saved(Image.fromarray(GREY), optimize=True),
    "grey of 16 bits": saved(Image.fromarray(WIDE)),
    "colours": saved(Image.fromarray(COLOURS)),
    "a colour that stands for none": saved(Image.fromarray(COLOURS), transparency=(1, 2, 3)),
    "ours of 8 bits": write_png(GREY),
    "ours of 16 bits": write_png(WIDE),
    "ours in colours": write_png(COLOURS),
}
BY_PILLOW = {
    "palette": saved(Image.fromarray(COLOURS).quantize(9)),
    "one bit": saved(Image.fromarray(GREY > 1)),
    "two bits": saved(Image.fromarray(COLOURS).quantize(3), bits=2),
    "four channels": saved(Image.fromarray(COLOURS).convert("RGBA")),
    "grey and alpha": saved(Image.fromarray(GREY).convert("LA")),
    "interlaced": interlaced(),
}


def by_pillow(data: bytes) -> tuple[str, NDArray[np.generic]]:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, np.asarray(image)


@pytest.fixture
def by_rust(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Rust has read."""
    found: list[object] = []

    def noting(decoder: Callable[..., object]) -> Callable[..., object]:
        def noted(*given: object) -> object:
            found.append(decoder(*given))
            return found[-1]

        return noted

    for name in ("decode_image_png_u8", "decode_image_png_u16"):
        monkeypatch.setattr(rust, name, noting(getattr(rust, name)))
    return found


@pytest.mark.parametrize("name", BY_RUST | BY_PILLOW)
def test_pixels_are_pillows(name: str, by_rust: list[object]) -> None:
    data = (BY_RUST | BY_PILLOW)[name]
    mode, pixels = by_pillow(data)
    found = read_png(data)
    assert found.mode == mode
    assert found.pixels.dtype == pixels.dtype
    assert np.array_equal(found.pixels, pixels)
    assert len(by_rust) == (name in BY_RUST)


@pytest.mark.parametrize("name", BY_RUST)
def test_without_the_extra_pillow_reads_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_png(BY_RUST[name])
    monkeypatch.setattr(reader, "_rust", lambda: None)
    again = read_png(BY_RUST[name])
    assert again.mode == found.mode
    assert np.array_equal(again.pixels, found.pixels)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", BY_RUST["grey"][:60], BY_RUST["colours"][:-100], b"GIF89a" + BY_RUST["grey"][6:]],
)
def test_what_is_no_whole_png_is_told_in_pillows_words(data: bytes) -> None:
    with pytest.raises((OSError, SyntaxError)):
        read_png(data)
    with pytest.raises(InvalidRecord):
        decode(data)


def test_a_bomb_is_an_error_and_no_panic() -> None:
    """Rust would ask for all of its memory at once; a panic is no `Exception`."""
    bomb = bytearray(write_png(GREY))
    bomb[16:24] = struct.pack(">II", 2**20, 2**20)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(Image.DecompressionBombError):
        read_png(bytes(bomb))


# Texts


def with_text(text: str, keyword: str = "ours", **options: Any) -> bytes:
    info = PngInfo()
    info.add_text("ours", "a plain text of the same keyword")
    info.add_itxt("ours, too", "another text")
    info.add_itxt(keyword, text, **options)
    return saved(Image.fromarray(GREY), pnginfo=info)


@pytest.mark.parametrize("text", ["", "a text", "grün 猫 🐈", "a\0b", "x" * MAX_TEXT_CHUNK])
@pytest.mark.parametrize("options", [{}, {"lang": "en", "tkey": "unseres"}, {"zip": True}])
def test_a_text_is_read_as_by_pillow(text: str, options: dict[str, Any]) -> None:
    data = with_text(text, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert international_text(data, "ours") == image.info["ours"] == text


def test_another_texts_keyword_is_none_of_ours() -> None:
    assert international_text(with_text("a text", keyword="foreign"), "ours") is None


@pytest.mark.parametrize(
    "data",
    [
        b"ours\0",
        b"ours\0\0\0",
        b"ours\0\0\0\0\0\xff",
        b"ours\0\1\0\0\0no stream",
        b"ours\0\1\1\0\0" + zlib.compress(b"a"),
    ],
)
def test_a_malformed_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="its text is malformed"):
        international_text(write_png(GREY, [(b"iTXt", data)]), "ours")


def test_a_text_that_swells_is_refused() -> None:
    data = with_text("x" * (MAX_TEXT_CHUNK + 1), zip=True)
    assert len(data) < MAX_TEXT_CHUNK / 100
    with pytest.raises(ValueError, match="or very long"):
        international_text(data, "ours")


def test_a_file_with_any_byte_lost_or_changed_is_refused() -> None:
    whole = with_text("a text")
    assert international_text(whole + b"more", "ours") == "a text"
    for place in range(len(whole)):
        with pytest.raises(ValueError, match="begin as one" if place < len(reader.SIGNATURE) else "cut off"):
            international_text(whole[:place], "ours")
        changed = bytearray(whole)
        changed[place] ^= 0x10
        with pytest.raises(ValueError, match=r"begin as one|cut off|damaged"):
            international_text(bytes(changed), "ours")
