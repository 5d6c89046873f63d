"""TIFF: which page is taken, what is said of it, and what is refused."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from maskmill.errors import DecompressionBomb, ImageError, ImageTruncated, ImageUnsupported
from maskmill.images.decode import Picture, decode

LIMIT = 10_000_000
RAMP = np.tile(np.linspace(0, 65535, 96).astype(np.uint16), (72, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=-1)


def pages(*each: tuple[NDArray[Any], dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for values, options in each:
            writer.write(values, metadata=None, **options)
    return buffer.getvalue()


def page(values: NDArray[Any], **options: Any) -> bytes:
    return pages((values, options))


def read(data: bytes, **options: Any) -> Picture:
    return decode(data, max_pixels=LIMIT, **options)


def verdict(data: bytes) -> ImageError | None:
    try:
        decode(data, max_pixels=1_000_000)
    except ImageError as error:
        return error
    return None


def codes(picture: Picture) -> list[str]:
    return [warning.code for warning in picture.warnings]


def flat(size: tuple[int, int], shade: int) -> NDArray[np.uint8]:
    return np.full((*size, 3), shade, np.uint8)


RGB: dict[str, Any] = {"photometric": "rgb"}
REDUCED = RGB | {"subfiletype": 1}


@pytest.mark.parametrize(
    ("files", "shade", "expected"),
    [
        ([((24, 32), 50, RGB), ((240, 320), 200, RGB)], 200, ["page_chosen"]),
        ([((24, 32), 50, REDUCED), ((48, 64), 200, RGB)], 200, ["page_chosen"]),
        ([((240, 320), 50, RGB), ((24, 32), 200, REDUCED)], 50, []),
        ([((240, 320), 50, RGB), ((240, 320), 200, RGB)], 50, ["first_frame"]),
        ([((40, 40), 50, RGB), ((80, 80), 200, RGB)], 50, ["first_frame"]),
        ([((400, 400), 50, RGB), ((1300, 1300), 200, RGB)], 50, ["first_frame"]),
        ([((24, 32), 50, REDUCED)], 50, []),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_the_page_that_is_the_picture_is_taken(
    files: list[tuple[tuple[int, int], int, dict[str, Any]]], shade: int, expected: list[str], wide: bool
) -> None:
    values = [flat(size, shade).astype(np.uint16) * 257 if wide else flat(size, shade) for size, shade, _ in files]
    found = read(pages(*((each, options) for each, (*_, options) in zip(values, files, strict=True))))
    assert np.asarray(found.image).max() == shade
    assert [code for code in codes(found) if code != "low_contrast"] == expected


def test_thirty_pages_are_counted() -> None:
    picture = read(pages(*[(flat((40, 40), shade), RGB) for shade in range(30)]))
    assert [warning.reason for warning in picture.warnings] == ["the first of 30 pages"]


@pytest.mark.parametrize("wide", [False, True])
def test_a_broken_page_does_not_harm_the_first(wide: bool) -> None:
    values = flat((330, 40), 200).astype(np.uint16) * 257 if wide else flat((330, 40), 200)
    whole, dice = pages((values, RGB), (values, RGB), (values, RGB)), np.random.default_rng(0)
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        second = file.pages[1].offset
    for _ in range(500):
        data = bytearray(whole)
        for at in dice.integers(second, second + 200, 3):
            data[at] = dice.integers(256)
        assert np.asarray(read(bytes(data)).image).min() == 200


def test_a_chain_of_pages_without_end_ends() -> None:
    data = bytearray(page(flat((40, 40), 9), **RGB))
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    at = len(data)
    data[first + 2 + 12 * entries :][:4] = struct.pack("<I", at)
    directory = data[first : first + 2 + 12 * entries]
    for number in range(3000):  # the last one points to the first of these
        following = at if number == 2999 else at + (number + 1) * (len(directory) + 4)
        data += directory + struct.pack("<I", following)
    struct.pack_into("<I", data, first + 2 + 12 * entries, at)
    assert codes(read(bytes(data))) == ["first_frame"]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_file_of_large_offsets_is_read_like_any_other(bits: int) -> None:
    buffer = io.BytesIO()
    values = COLOURS if bits == 16 else (COLOURS >> 8).astype(np.uint8)
    tifffile.imwrite(buffer, values, photometric="rgb", bigtiff=True)
    np.testing.assert_array_equal(np.asarray(read(buffer.getvalue()).image), COLOURS >> 8)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_planar_and_interleaved_are_the_same_picture(planar: str) -> None:
    values = COLOURS if planar == "contig" else np.moveaxis(COLOURS, -1, 0)
    picture = read(page(values, photometric="rgb", planarconfig=planar))
    np.testing.assert_array_equal(np.asarray(picture.image), COLOURS >> 8)
    assert picture.scale == (0, 65535)


@pytest.mark.parametrize(
    ("extra", "opacity", "expected"),
    [
        ("unassalpha", 0, ["alpha_dropped"]),
        ("unassalpha", 65535, []),
        ("assocalpha", 65535, []),
        ("unspecified", 0, ["bands_dropped"]),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_behind_the_colours_is_dropped_and_told(
    extra: str, opacity: int, expected: list[str], bits: int
) -> None:
    values = np.concatenate([COLOURS, np.full((72, 96, 1), opacity, np.uint16)], axis=-1)
    values = values if bits == 16 else (values >> 8).astype(np.uint8)
    picture = read(page(values, photometric="rgb", extrasamples=[extra]))
    np.testing.assert_array_equal(np.asarray(picture.image), COLOURS >> 8)
    assert codes(picture) == expected


def test_the_scale_of_the_job_is_that_of_its_tiffs() -> None:
    dim = page(COLOURS >> 4, photometric="rgb")
    assert codes(read(dim)) == ["low_contrast"]
    bright = read(dim, scale="0:4095")
    assert codes(bright) == []
    assert np.abs(np.asarray(bright.image).astype(int) - (COLOURS >> 8)).max() <= 1


@pytest.mark.parametrize("scale", [None, "minmax", "0:10000"])
def test_eight_bits_are_left_as_they_are(scale: str | None) -> None:
    values = (COLOURS >> 10).astype(np.uint8)
    for compression in (None, "webp"):  # the second is none that Pillow reads
        picture = read(page(values, photometric="rgb", compression=compression), scale=scale)
        assert np.abs(np.asarray(picture.image).astype(int) - values).mean() < 2
        assert (picture.scale, codes(picture)) == (None, [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_wide_pages_are_turned_upright_as_others_are(orientation: int) -> None:
    tag = [(274, "H", 1, orientation, True)]
    wide = read(page(COLOURS, photometric="rgb", extratags=tag))
    narrow = read(page((COLOURS >> 8).astype(np.uint8), photometric="rgb", extratags=tag))
    np.testing.assert_array_equal(np.asarray(wide.image), np.asarray(narrow.image))


def test_the_nodata_value_of_gdal_is_black() -> None:
    values = np.where(RAMP > 30_000, np.float32(-9999), RAMP)
    picture = read(page(values, extratags=[(42113, "s", 0, "-9999", True)]))
    assert picture.scale
    assert picture.scale[0] >= 0
    assert np.asarray(picture.image)[RAMP > 30_000].max() == 0


def canon(data: bytes) -> bytes:
    """The same file with Canon's mark behind its header, and its directory at the end."""
    first = struct.unpack_from("<I", data, 4)[0]
    return data[:4] + struct.pack("<I", len(data)) + b"CR\2\0" + bytes(4) + data[16:] + data[first : first + 400]


UNSUPPORTED = {
    "bands": (
        page(np.zeros((72, 96, 4), np.uint16), photometric="minisblack", planarconfig="contig"),
        "4 bands.*choose three",
    ),
    "eight-bit bands": (
        page(np.zeros((5, 72, 96), np.uint8), photometric="minisblack", planarconfig="separate"),
        "5 bands",
    ),
    "complex": (page(np.zeros((72, 96), np.complex64)), "format 6"),
    "raw": (page(RAMP, photometric=32803, extratags=[(33421, "H", 2, (2, 2), True)]), "raw file"),
    "inks": (
        page(np.zeros((72, 96, 4), np.uint8), photometric="separated", extratags=[(332, "H", 1, 2, True)]),
        "SEPARATED",
    ),
    "narrow palette": (
        page(
            flat((72, 96), 9)[..., 0], photometric="palette", colormap=np.tile(np.arange(256, dtype=np.uint16), (3, 1))
        ),
        "PALETTE",
    ),
    "dng": (page(flat((72, 96), 9), photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]), "raw file"),
    "cr2": (canon(page(flat((72, 96), 9), photometric="rgb")), "raw file"),
    "darkened": (
        page(np.dstack([COLOURS, RAMP]), photometric="rgb", extrasamples=["assocalpha"]),
        "without transparency",
    ),
    "volume": (page(np.zeros((16, 32, 32), np.uint16), volumetric=True, tile=(16, 16, 16)), "TIFF"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_would_be_a_guess_is_unsupported(kind: str) -> None:
    data, reason = UNSUPPORTED[kind]
    with pytest.raises(ImageUnsupported, match=reason):
        read(data)


@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_wide_file_that_is_cut_off_is_truncated(compression: str | None, part: float) -> None:
    data = page(COLOURS, photometric="rgb", compression=compression, rowsperstrip=8)
    with pytest.raises(ImageTruncated):
        read(data[: int(len(data) * part)])


def test_a_missing_strip_is_not_taken_for_black() -> None:
    data = bytearray(page(RAMP, compression="lzw", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        counts = file.pages[0].tags["StripByteCounts"]
    data[counts.valueoffset : counts.valueoffset + 2] = bytes(2)
    with pytest.raises(ImageTruncated):
        read(bytes(data))


@pytest.mark.parametrize(("tag", "name"), [(256, "ImageWidth"), (322, "TileWidth")])
def test_sizes_above_the_limit_are_refused_before_memory_is_taken(tag: int, name: str) -> None:
    data = bytearray(page(np.zeros((64, 64), np.float32), tile=(32, 32)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages[0].tags[name].valueoffset
        size = 4 if file.pages[0].tags[name].dtype == 4 else 2
    data[at : at + size] = (60_000).to_bytes(size, "little")
    with pytest.raises(ImageError) as caught:
        decode(bytes(data), max_pixels=100_000)
    assert isinstance(caught.value, DecompressionBomb)
    assert "--max-image-pixels" in str(caught.value)


def test_without_its_reader_a_tiff_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = page(COLOURS, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageUnsupported, match=r"maskmill\[worker\]"):
        read(data)


def test_damaged_wide_files_raise_nothing_but_image_errors() -> None:
    dice = np.random.default_rng(3)
    for compression in (None, "lzw", "jpegxl", "lerc"):
        data = page(COLOURS, photometric="rgb", compression=compression, rowsperstrip=16)
        for _ in range(150):
            damaged = bytearray(data)
            for at in dice.integers(0, len(data), dice.integers(1, 6)):
                damaged[at] = dice.integers(256)
            damaged[-600 + int(dice.integers(600))] = int(dice.integers(256))
            error = verdict(bytes(damaged))
            assert type(error) is not ImageError
            assert len(str(error).splitlines()) == 1
