"""Images in memory become files of just these pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from maskmill.errors import SourceError
from maskmill.images.decode import Picture, decode
from maskmill.images.in_memory import encoded

RNG = np.random.default_rng(7)
WIDE = ("int8", "uint16", "int16", ">u2", "uint32", "int64", "float16", "float32", "float64")


def decoded(image: Any, scale: str | None = None) -> Picture:
    return decode(encoded(image), max_pixels=10**6, scale=scale)


def of_file(image: Image.Image, kind: str, **options: Any) -> Picture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return decode(file.getvalue(), max_pixels=10**6)


def pixels(picture: Picture) -> npt.NDArray[Any]:
    return np.asarray(picture.image)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_eight_bit_arrays_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 256, shape, np.uint8)
    expected = array[..., :3] if len(shape) == 3 and shape[2] > 1 else np.repeat(array.reshape(5, 7, 1), 3, axis=2)
    assert (pixels(decoded(array)) == expected).all()
    assert (pixels(decoded(array[::-1, ::-1])) == expected[::-1, ::-1]).all()


def test_of_booleans_false_is_black_and_true_is_white() -> None:
    assert pixels(decoded(np.array([[False, True]])))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_values_of_more_than_eight_bits_are_kept(kind: str, shape: tuple[int, ...]) -> None:
    array = (RNG.random(shape) * 100).astype(kind)
    kept = tifffile.imread(io.BytesIO(encoded(array)))
    assert (kept == array).all()
    assert kept.dtype == np.dtype(kind).newbyteorder("=")
    picture = decoded(array, scale="0:200")
    assert picture.scale == (0.0, 200.0)
    assert np.abs(pixels(picture)[..., 0] - (array if array.ndim == 2 else array[..., 0]) * 1.275).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pillow_s_images_are_what_their_files_would_be(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (6, 8, 4), np.uint8)).convert(mode)
    found, expected = decoded(image), of_file(image, "PNG")
    assert (pixels(found) == pixels(expected)).all()
    assert found.warnings == expected.warnings


def test_a_palette_s_transparency_is_told_as_that_of_a_file() -> None:
    image = Image.fromarray(RNG.integers(0, 4, (6, 8), np.uint8)).convert("P")
    image.info["transparency"] = 2
    assert [each.code for each in decoded(image).warnings] == ["alpha_dropped"]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_modes_become_the_colours_that_pillow_makes_of_them(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).convert(mode)
    assert (pixels(decoded(image)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_pillow_s_wide_modes_keep_their_values(mode: str) -> None:
    values = RNG.integers(0, 60_000, (6, 8)).astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode])
    image = Image.fromarray(values)
    assert image.mode == mode
    assert (tifffile.imread(io.BytesIO(encoded(image))) == values).all()


def test_an_image_is_turned_upright_as_its_file_would_be() -> None:
    image, exif = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    with Image.open(file) as opened:
        data = encoded(opened)
        assert (pixels(decoded(opened)) == pixels(of_file(image, "PNG", exif=exif))).all()
    assert decoded(opened_again(data)).image.size == (6, 8)
    assert b"where I live" not in data


def opened_again(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_are_taken_as_they_are(kind: Any) -> None:
    assert encoded(kind(b"\xff\xd8\xffwhatever")) == b"\xff\xd8\xffwhatever"


def closed() -> Image.Image:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    image = Image.open(file)
    image.close()
    return image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros(3), r"shape \(3,\): an image is"),
        (np.zeros((2, 5, 7, 3)), r"list\(array\)"),
        (np.zeros((3, 50, 70)), r"transpose\(1, 2, 0\)"),
        (np.zeros((0, 7)), "shape"),
        (np.zeros((5, 7, 2)), "shape"),
        (np.zeros((5, 7), np.complex64), "complex64: an image is of bool"),
        (np.array([["a"]]), "an image is of bool"),
        (np.array([[None]]), "object"),
        (b"", "no bytes"),
        (closed(), "cannot be read"),
    ],
    ids=["row", "batch", "colours first", "empty", "two bands", "complex", "text", "objects", "no bytes", "closed"],
)
def test_what_is_no_image_is_refused_in_words(image: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        encoded(image)


def test_equal_images_are_equal_files() -> None:
    for array in (RNG.integers(0, 256, (5, 7, 3), np.uint8), RNG.random((5, 7))):
        assert encoded(array) == encoded(array.copy())
