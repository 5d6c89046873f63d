from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from maskmill.errors import DecompressionBomb, ImageError, ImageTruncated, NotAnImage
from maskmill.images.decode import FORMATS, decode, register_formats
from maskmill.images.kinds import IMAGE_EXTENSIONS

LIMIT = 10_000_000
SIZE = (37, 23)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Smooth colours with some noise, in any mode, with varying alpha where the mode has one."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    noise = np.random.default_rng(0).integers(0, 40, (height, width))
    rgba = Image.fromarray(np.stack([x, y, (x + noise) % 256, (y + x) % 256], axis=-1).astype(np.uint8))
    if mode in ("P", "1"):
        return rgba.convert("RGB").convert(mode)
    return rgba.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "LAB") else rgba.convert(mode)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def stock(data: bytes) -> Image.Image:
    """What `transformers.image_utils.load_image` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def pixels(data: bytes) -> NDArray[Any]:
    image = decode(data, max_pixels=LIMIT).image
    assert image.mode == "RGB"
    return np.asarray(image)


def verdict(data: bytes, max_pixels: int) -> ImageError | None:
    try:
        decode(data, max_pixels=max_pixels)
    except ImageError as error:
        return error
    return None


# Ordinary images


EIGHT_BIT = [
    *[("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")],
    *[("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
    *[("TIFF", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")],
    *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    *[("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")],
    *[("GIF", mode) for mode in ("1", "L", "P", "RGB")],
    *[("JPEG2000", mode) for mode in ("L", "LA", "RGB", "RGBA")],
    *[("PPM", mode) for mode in ("1", "L", "RGB")],
    *[("AVIF", mode) for mode in ("RGB", "RGBA")],
]


@pytest.mark.parametrize(("file_format", "mode"), EIGHT_BIT)
def test_eight_bit_images_are_those_of_the_stock_pipeline(file_format: str, mode: str) -> None:
    data = encoded(picture(mode), file_format)
    np.testing.assert_array_equal(pixels(data), np.asarray(stock(data)))


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_transparent_palettes_are_those_of_the_stock_pipeline(transparency: int | bytes) -> None:
    data = encoded(picture("P"), "PNG", transparency=transparency)
    np.testing.assert_array_equal(pixels(data), np.asarray(stock(data)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("file_format", "mode"), [("JPEG", "RGB"), ("PNG", "P"), ("TIFF", "L"), ("WEBP", "RGB")])
def test_exif_orientation_is_applied(file_format: str, mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(mode), file_format, exif=exif)
    assert decode(data, max_pixels=LIMIT).image.size == (SIZE if orientation < 5 else SIZE[::-1])
    np.testing.assert_array_equal(pixels(data), np.asarray(stock(data)))


def test_a_broken_exif_block_counts_as_none() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffrubbish")
    np.testing.assert_array_equal(pixels(data), pixels(encoded(picture(), "JPEG")))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_of_an_animation_is_taken(file_format: str) -> None:
    red, blue = Image.new("RGB", SIZE, (250, 0, 0)), Image.new("RGB", SIZE, (0, 0, 250))
    data = encoded(red, file_format, save_all=True, append_images=[blue])
    assert pixels(data)[..., 0].min() > 200
    assert pixels(data)[..., 2].max() < 50


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_has_an_extension_that_folders_are_searched_for(file_format: str) -> None:
    Image.init()
    assert {extension for extension, name in Image.EXTENSION.items() if name == file_format} <= IMAGE_EXTENSIONS


def test_every_extension_that_folders_are_searched_for_has_a_format() -> None:
    Image.init()
    register_formats()
    known = {Image.EXTENSION.get(extension, "JPEG XL") for extension in IMAGE_EXTENSIONS}
    assert known == {*FORMATS, "HEIF", "MPO", "JPEG XL"}


# Wide greys


RAMP = np.array([[0, 255, 256, 32768, 65535]])


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bit_greys_keep_their_high_byte(file_format: str) -> None:
    options = {"irreversible": False} if file_format == "JPEG2000" else {}
    data = encoded(Image.fromarray(RAMP.astype(np.uint16)), file_format, **options)
    assert pixels(data)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert np.ptp(pixels(data), axis=-1).max() == 0


def test_big_endian_sixteen_bit_greys_are_the_same() -> None:
    data = encoded(Image.fromarray(RAMP.astype(">u2")), "TIFF")
    assert pixels(data)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_sixteen_bit_image_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(RAMP.astype(np.uint16)), "PNG", exif=exif)
    assert pixels(data)[:, 0, 0].tolist() == [0, 0, 1, 128, 255]


# Hostile bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"   \n",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b'{"error": "no such image"}',
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\x89PNG",
        bytes(4096),
        random.Random(0).randbytes(4096),
    ],
)
def test_bytes_of_no_image_format_are_not_an_image(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode(data, max_pixels=LIMIT)


def test_a_web_page_is_called_one() -> None:
    with pytest.raises(NotAnImage, match="HTML"):
        decode(b"\n <html>", max_pixels=LIMIT)


TRUNCATABLE = [("JPEG", "RGB"), ("PNG", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("BMP", "RGB"), ("PPM", "RGB")]
TRUNCATABLE += [("GIF", "P"), ("AVIF", "RGB"), ("JPEG2000", "RGB")]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("file_format", "mode"), TRUNCATABLE)
def test_a_cut_file_is_truncated(file_format: str, mode: str, part: float) -> None:
    data = encoded(picture(mode, (300, 200)), file_format)
    with pytest.raises(ImageTruncated) as caught:
        decode(data[: int(len(data) * part)], max_pixels=LIMIT)
    assert len(str(caught.value).splitlines()) == 1
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png_header(100_000, 100_000),
        png_header(3_200, 3_200),
        b"P6 60000 60000 255\n",
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\x00\x00\x00"
        + b","
        + struct.pack("<HHHH", 0, 0, 9, 9)
        + b"\x00\x02",
        b"RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\xff\xff\x00" * 2 + bytes(8),
    ],
)
def test_a_header_above_the_limit_is_a_bomb(data: bytes) -> None:
    with pytest.raises(DecompressionBomb, match="10,000,000 pixels"):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("before", [b"zTXtnote\0\0", b"iTXtnote\0\1\0\0\0", b"iCCPprofile\0\0"])
def test_a_text_or_profile_that_inflates_without_end_is_a_bomb(before: bytes) -> None:
    data, packed = encoded(picture(), "PNG"), zlib.compress(bytes(2**25))
    with pytest.raises(DecompressionBomb, match="too large"):
        decode(data[:33] + chunk(before[:4], before[4:] + packed) + data[33:], max_pixels=LIMIT)


def test_a_tiff_that_ends_in_its_directory_is_truncated() -> None:
    data = encoded(picture(), "TIFF")
    start, entries = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<H", data, 8)[0]
    assert start == 8
    for length in range(8, start + 2 + 12 * entries):
        with pytest.raises(ImageTruncated):
            decode(data[:length], max_pixels=LIMIT)


def test_the_limit_is_exact_and_may_be_above_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = encoded(picture(), "PNG")
    assert decode(data, max_pixels=SIZE[0] * SIZE[1]).image.size == SIZE
    with pytest.raises(DecompressionBomb):
        decode(data, max_pixels=SIZE[0] * SIZE[1] - 1)


def test_what_decode_sets_in_pillow_is_put_back() -> None:
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    for data in (encoded(picture(), "PNG"), b"", png_header(100_000, 100_000)):
        verdict(data, LIMIT)
    assert before == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


@pytest.mark.parametrize(("file_format", "mode"), [*TRUNCATABLE, ("PNG", "P"), ("TIFF", "CMYK")])
def test_damaged_bytes_raise_nothing_but_image_errors(file_format: str, mode: str) -> None:
    dice = random.Random(f"{file_format}{mode}")
    data = encoded(picture(mode), file_format)
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(min(len(data), dice.choice([64, 512, 100_000])))] = dice.randrange(256)
        error = verdict(bytes(damaged[: dice.choice([len(data), dice.randrange(len(data))])]), 1_000_000)
        assert type(error) is not ImageError
        assert len(str(error).splitlines()) == 1
