"""Collections of images for whole jobs: good ones of several sizes and modes, and one broken file of each kind."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

from demo.scenes import generate_scene

SIZES = ((160, 120), (120, 160), (200, 100), (128, 128), (240, 180))


def write_good(folder: Path, number: int, first_seed: int = 5_000_000) -> list[Path]:
    """Small scenes in five sizes, as JPEG, PNG and WebP, some grey, some with alpha, some EXIF-rotated."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_scene(folder, index, first_seed) for index in range(number)]


def _write_scene(folder: Path, index: int, first_seed: int) -> Path:
    image = generate_scene(first_seed + index % 20, SIZES[index % len(SIZES)]).image
    kind = ("jpg", "png", "webp", "jpg", "tif")[index % 5]
    path = folder / f"scene-{index:04d}.{kind}"
    exif = Image.Exif()
    if kind == "jpg" and index % 2:
        exif[0x0112] = 6  # rotated by 90°
    image = image.convert({"png": "RGBA", "tif": "L"}.get(kind, "RGB"))
    image.save(path, exif=exif)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg(size: tuple[int, int] = (300, 200)) -> bytes:
    """A whole JPEG with detail in it."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def write_broken(folder: Path) -> dict[Path, str]:
    """Nine broken files and the code that each must end with."""
    folder.mkdir(parents=True, exist_ok=True)
    png = folder / "cut.png"
    Image.effect_noise((300, 200), 60).save(png)
    png.write_bytes(png.read_bytes()[:-9000])
    files = {
        "empty.jpg": (b"", "not_an_image"),
        "page.jpg": (b"<!doctype html><title>404</title>", "not_an_image"),
        "text.png": (b"just some words\n" * 40, "not_an_image"),
        "random.bmp": (bytes(range(256)) * 20, "not_an_image"),
        "cut.jpg": (jpeg()[:4000], "truncated"),
        "cut-in-header.jpg": (jpeg()[:40], "truncated"),
        "bomb.png": (png_header(60_000, 60_000), "decompression_bomb"),
        "wrong.webp": (b"RIFF\x00\x00\x00\x00WEBPjunk", "not_an_image"),
    }
    codes = {png: "truncated"}
    for name, (data, code) in files.items():
        (folder / name).write_bytes(data)
        codes[folder / name] = code
    return codes
