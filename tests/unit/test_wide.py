"""PNG, JPEG 2000, PNM, JPEG XL and HEIF: wide values, and formats of extras."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmill.choices import Scale
from maskmill.errors import DecompressionBomb, ImageError, ImageTruncated, ImageUnsupported
from maskmill.images import decode as decoding
from maskmill.images import notes
from maskmill.images.decode import Picture, decode
from maskmill.images.wide import jpeg_xl_size

LIMIT = 1_000_000
STEPS = np.array([0, 1000, 30_000, 65_000, 65_279, 65_280, 65_407, 65_408, 65_500, 65_535], np.uint16)
GREY = np.tile(STEPS, (16, 1))
COLOURS = np.stack([GREY, GREY[:, ::-1], GREY // 2], axis=-1)
HALF = np.full((16, 10, 1), 32_768, np.uint16)


def jpeg_2000(values: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, level=0, reversible=True, **options))


def pnm(magic: str, values: NDArray[Any], white: int = 65535) -> bytes:
    header = f"{magic}\n{values.shape[1]} {values.shape[0]}\n{white}\n".encode()
    body = " ".join(map(str, values.ravel())).encode() if magic in ("P2", "P3") else values.astype(">u2").tobytes()
    return header + body


WIDE = {
    "png": lambda values: bytes(imagecodecs.png_encode(values)),
    "jp2": jpeg_2000,
    "j2k": lambda values: jpeg_2000(values, codecformat="j2k"),
    "jxl": lambda values: bytes(imagecodecs.jpegxl_encode(values, lossless=True)),
    "pnm": lambda values: pnm("P5" if values.ndim == 2 else "P6", values),
    "plain pnm": lambda values: pnm("P2" if values.ndim == 2 else "P3", values),
}


def read(data: bytes, scale: str | None = None) -> Picture:
    return decode(data, max_pixels=LIMIT, scale=scale)


def verdict(data: bytes) -> ImageError | None:
    try:
        read(data)
    except ImageError as error:
        return error
    return None


def codes(picture: Picture) -> list[str]:
    return [warning.code for warning in picture.warnings]


@pytest.fixture
def no_plugins() -> Iterator[None]:
    decoding.register_formats.cache_clear()
    yield
    decoding.register_formats.cache_clear()


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("values", [GREY, COLOURS], ids=["grey", "colours"])
def test_sixteen_bits_keep_their_high_byte(name: str, values: NDArray[np.uint16]) -> None:
    picture = read(WIDE[name](values))
    expected = values >> 8 if values.ndim == 3 else np.repeat(values[..., None] >> 8, 3, axis=-1)
    np.testing.assert_array_equal(np.asarray(picture.image), expected)
    assert (picture.scale, codes(picture)) == ((0, 65535), [])


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("values", [GREY, COLOURS], ids=["grey", "colours"])
def test_twelve_in_sixteen_bits_warn_and_a_scale_mends_it(name: str, values: NDArray[np.uint16]) -> None:
    dim = WIDE[name](values >> 4)
    assert codes(read(dim)) == ["low_contrast"]
    bright = read(dim, "0:4095")
    assert (bright.scale, codes(bright)) == ((0, 4095), [])
    shown = np.asarray(bright.image).reshape(16, 10, 3)[..., : values.ndim if values.ndim == 3 else 1]
    assert np.abs(shown.astype(int).squeeze() - (values >> 8)).max() <= 1


@pytest.mark.parametrize("name", ["png", "jp2", "jxl"])
@pytest.mark.parametrize("values", [GREY[..., None], COLOURS], ids=["grey", "colours"])
def test_alpha_is_dropped_and_told_where_it_hides_something(name: str, values: NDArray[np.uint16]) -> None:
    for alpha, expected in ((HALF, ["alpha_dropped"]), (HALF * 0 + 65535, [])):
        picture = read(WIDE[name](np.concatenate([values, alpha], axis=-1)))
        np.testing.assert_array_equal(np.asarray(picture.image), np.broadcast_to(values >> 8, (16, 10, 3)))
        assert codes(picture) == expected


@pytest.mark.parametrize("bits", [9, 10, 12])
def test_the_depth_of_jpeg_2000_is_its_white(bits: int) -> None:
    values = (COLOURS >> (16 - bits)).astype(np.uint16)
    picture = read(jpeg_2000(values, bitspersample=bits))
    assert picture.scale == (0, 2**bits - 1)
    np.testing.assert_array_equal(np.asarray(picture.image), values >> (bits - 8))


def test_the_maxval_of_pnm_is_its_white() -> None:
    values = np.array([[0, 500, 1000, 70]])
    for magic in ("P5", "P2"):
        picture = read(pnm(magic, values, 1000))
        assert picture.scale == (0, 1000)
        assert np.asarray(picture.image)[0, :, 0].tolist() == [0, 128, 255, 18]


def test_a_wide_jpeg_2000_of_other_colours_is_unsupported() -> None:
    data = bytearray(jpeg_2000(COLOURS))
    at = data.find(b"colr")
    assert data[at + 4] == 1
    data[at + 7 : at + 11] = (18).to_bytes(4, "big")
    with pytest.raises(ImageUnsupported, match="not RGB"):
        read(bytes(data))


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_cut_wide_file_is_truncated(name: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64, 3), dtype=np.uint16)
    data = WIDE[name](noise)
    with pytest.raises(ImageTruncated):
        read(data[: int(len(data) * part)])


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_wide_png_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG", exif=exif)
    turned = np.rot90(GREY, {3: 2, 6: 3}[orientation])
    np.testing.assert_array_equal(np.asarray(read(buffer.getvalue()).image)[..., 0], turned >> 8)


@pytest.mark.parametrize("shape", [(8, 8), (16, 10), (480, 640), (333, 77), (2000, 300), (72, 96)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_header_of_jpeg_xl_is_read_before_the_image(shape: tuple[int, int], dtype: str) -> None:
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((*shape, 3), dtype)))
    assert jpeg_xl_size(data) == (shape[1], shape[0])
    with pytest.raises(DecompressionBomb, match="--max-image-pixels"):
        decode(data, max_pixels=shape[0] * shape[1] - 1)


def test_jpeg_xl_of_eight_bits_and_of_floats_is_read() -> None:
    narrow = (COLOURS >> 8).astype(np.uint8)
    picture = read(WIDE["jxl"](narrow), "0:10")
    np.testing.assert_array_equal(np.asarray(picture.image), narrow)
    assert picture.scale is None
    floats = read(WIDE["jxl"]((COLOURS / 65535).astype(np.float32)))
    assert floats.scale == (0, 1)
    assert np.abs(np.asarray(floats.image).astype(int) - narrow).max() <= 1


def test_damaged_files_raise_nothing_but_image_errors() -> None:
    dice = np.random.default_rng(5)
    for name, write in WIDE.items():
        data = write(COLOURS)
        for _ in range(150):
            damaged = bytearray(data)
            for at in dice.integers(0, len(data), dice.integers(1, 6)):
                damaged[at] = dice.integers(256)
            error = verdict(bytes(damaged))
            assert type(error) is not ImageError, name
            assert len(str(error).splitlines()) == 1


def heic() -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(np.full((32, 48, 3), 200, np.uint8))).save(buffer, quality=90)
    return buffer.getvalue()


@pytest.mark.usefixtures("no_plugins")
def test_heic_is_read_with_the_extra_and_names_it_without(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic()
    assert abs(np.asarray(read(data).image).mean() - 200) < 3
    decoding.register_formats.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageUnsupported, match=r"maskmill\[formats\]"):
        read(data)


@pytest.mark.parametrize("name", ["jxl", "png", "jp2"])
def test_what_imagecodecs_reads_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = WIDE[name](COLOURS)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageUnsupported, match=r"maskmill\[worker\]"):
        read(data)


@pytest.mark.parametrize("encode", [imagecodecs.jpegls_encode, imagecodecs.ljpeg_encode, imagecodecs.jpeg8_encode])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_other_kinds_of_jpeg_are_read_right_or_unsupported(encode: Callable[..., bytes], dtype: str) -> None:
    smooth = np.tile(np.linspace(0, 4095, 96).astype(np.uint16), (72, 1))
    values = smooth if dtype == "uint16" else (smooth >> 4).astype(np.uint8)
    options = {"bitspersample": 12} if dtype == "uint16" and encode is imagecodecs.jpeg8_encode else {}
    with suppress(ImageUnsupported):
        shown = np.asarray(read(bytes(encode(values, **options))).image)
        assert np.abs(shown[..., 0].astype(int) - (smooth >> 4)).max() <= 3


def test_a_png_in_apples_own_form_is_unsupported() -> None:
    data = WIDE["png"]((COLOURS >> 8).astype(np.uint8))
    with pytest.raises(ImageUnsupported, match="CgBI"):
        read(data[:8] + b"\0\0\0\x04CgBI\x50\0\x20\x02\x2b\xd5\xb3\x7f" + data[8:])


ANIMATED = ["GIF", "WEBP", "PNG", "AVIF"]


@pytest.mark.parametrize("name", ANIMATED)
def test_frames_are_counted(name: str) -> None:
    frames = [Image.new("RGB", (20, 20), (8 * each, 0, 0)) for each in range(1, 31)]
    buffer = io.BytesIO()
    frames[0].save(buffer, name, save_all=True, append_images=frames[1:])
    assert [warning.reason for warning in read(buffer.getvalue()).warnings] == ["the first of 30 frames"]
    buffer = io.BytesIO()
    frames[0].save(buffer, name)
    assert codes(read(buffer.getvalue())) == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_told_only_where_it_hides_something(mode: str) -> None:
    for opacity, expected in ((0, ["alpha_dropped"]), (255, [])):
        image = Image.new("RGBA", (20, 20), (200, 100, 50, opacity))
        image.paste((9, 9, 9, 255), (0, 0, 9, 9))
        buffer = io.BytesIO()
        options = {}
        if mode == "P":
            image = image.convert("RGB").quantize(4)
            options["transparency"] = bytes([opacity] * 4)
        else:
            image = image.convert(mode)
        image.save(buffer, "TIFF" if mode == "PA" else "PNG", **options)
        assert codes(read(buffer.getvalue())) == expected, mode


def test_an_unused_transparent_colour_hides_nothing() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=0)
    assert codes(read(buffer.getvalue())) == []


def test_the_other_pictures_of_a_photo_are_no_frames() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (9, 9, 9)).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert codes(read(buffer.getvalue())) == []


def test_a_float_map_is_spread_over_its_percentiles() -> None:
    values = np.linspace(-3, 5, 160, dtype="<f4").reshape(16, 10)
    picture = read(b"Pf\n10 16\n-1.0\n" + values[::-1].tobytes())
    assert picture.scale == (float(np.float32(values.ravel()[3])), float(np.float32(values.ravel()[156])))
    assert np.asarray(picture.image)[0, 0].tolist() == [0, 0, 0]
    assert np.asarray(picture.image)[15, 9].tolist() == [255, 255, 255]


def test_the_page_on_formats_names_each_warning_and_each_scale() -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    codes_there = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) - {"minmax", "auto", "none"}
    made = (notes.first_frame(2), notes.page_chosen(1, 2, 3, 4), notes.transparent(), notes.bands_dropped(1))
    assert codes_there == {warning.code for warning in (*made, notes.low_contrast(0, 1))}
    scales = re.findall(
        r"^\| `([^`]+)` \|", page.partition("| `--scale` |")[2].partition("## Warnings")[0], re.MULTILINE
    )
    assert scales == ["auto", "p2-p98", "minmax", "0:10000", "none"]
    assert [Scale.parse(scale) for scale in scales]
