from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imageio.v3
import numpy as np
import pytest
import skimage.io
import torchvision.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from maskmill.errors import InvalidRecord
from maskmill.masks import segment_map
from maskmill.masks.segment_map import MaskHeader, areas_and_boxes, decode, encode, narrowest, pipeline_output
from maskmill.schema import Segment, Subtask

Pixels = NDArray[Any]
shapes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)


def segments(number: int) -> tuple[Segment, ...]:
    return tuple(
        Segment(id=n, label=f"Gebäude {n}", label_id=n % 100, score=1 / n, area=n, box=(0, n, 1, 1))
        for n in range(1, number + 1)
    )


def header(number: int = 2) -> MaskHeader:
    return MaskHeader(uri="/foto/ä.jpg", fingerprint="f" * 32, subtask=Subtask.INSTANCE, segments=segments(number))


def png_of(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


# Round trip


@given(arrays.arrays(np.uint8, shapes) | arrays.arrays(np.uint16, shapes))
@settings(deadline=None)
def test_a_map_of_8_or_16_bits_comes_back_equal(ids: Pixels) -> None:
    found, found_header = decode(encode(ids, header()))
    assert found.dtype == ids.dtype
    assert np.array_equal(found, ids)
    assert found_header == header()


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_the_png_is_greyscale_of_the_map_s_own_depth(dtype: type, bits: int) -> None:
    png = encode(np.zeros((3, 5), dtype), header())
    width, height, depth, colour_type = (
        int.from_bytes(png[16:20]),
        int.from_bytes(png[20:24]),
        png[24],
        png[25],
    )
    assert (width, height, depth, colour_type) == (5, 3, bits, 0)


def test_any_reader_of_png_sees_the_ids() -> None:
    ids = np.array([[0, 1], [300, 65535]], np.uint16)
    with Image.open(io.BytesIO(encode(ids, header()))) as image:
        assert np.array_equal(np.asarray(image), ids)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_readers_that_people_use_see_the_ids_and_no_colours(dtype: Any, tmp_path: Path) -> None:
    """Of palette PNGs cv2, skimage and imageio give colours (docs/results.md), so masks are grey."""
    ids = np.array([[0, 1, 2], [3, 200, np.iinfo(dtype).max]], dtype)
    path = tmp_path / "mask.png"
    path.write_bytes(encode(ids, header()))
    readers: dict[str, Callable[[str], Any]] = {
        "PIL": lambda name: np.asarray(Image.open(name)),
        "cv2": lambda name: cv2.imread(name, cv2.IMREAD_UNCHANGED),
        "skimage": skimage.io.imread,
        "imageio": imageio.v3.imread,
        "torchvision": lambda name: torchvision.io.decode_image(name).numpy().squeeze(),
    }
    assert [name for name, read in readers.items() if not np.array_equal(read(str(path)), ids)] == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_that_does_not_compress_comes_back_equal(dtype: Any) -> None:
    ids = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (480, 640), dtype, endpoint=True)
    assert np.array_equal(decode(encode(ids, header()))[0], ids)


def test_a_smooth_map_of_640_by_480_takes_a_few_thousand_bytes() -> None:
    rows, columns = np.mgrid[:480, :640]
    discs = [(rows - 60 * n) ** 2 + (columns - 80 * n) ** 2 < 2500 for n in range(1, 8)]
    ids = np.select(discs, range(1, 8)).astype(np.uint8)
    assert len(encode(ids, header(8))) < 4096


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_that_is_not_contiguous_comes_back_equal(order: Any) -> None:
    ids = np.asarray(np.arange(48, dtype=np.uint16).reshape(6, 8), order=order)[::2, ::-1]
    assert np.array_equal(decode(encode(ids, header()))[0], ids)


def test_a_map_without_segments_comes_back_without() -> None:
    ids, found = decode(encode(np.zeros((2, 2), np.uint8), header(0)))
    assert not ids.any()
    assert found.segments == ()


@pytest.mark.parametrize("number", [256, 9_000, 65_535])
def test_as_many_segments_as_a_map_holds_come_back(number: int) -> None:
    ids = np.arange(1, number + 1, dtype=np.uint16).reshape(1, -1)
    found, found_header = decode(encode(ids, header(number)))
    assert np.array_equal(found, ids)
    assert found_header == header(number)


# What is not a mask of ours


@pytest.mark.parametrize("mode", ["L", "I;16", "1", "P", "RGB", "RGBA"])
def test_a_foreign_png_is_refused(mode: str) -> None:
    with pytest.raises(InvalidRecord, match="maskmill"):
        decode(png_of(Image.new(mode, (4, 4))))


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}', "hello"])
def test_a_png_whose_text_is_not_a_header_is_refused_with_the_text(text: str) -> None:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_itxt("maskmill", text)
    Image.new("L", (2, 2)).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(InvalidRecord) as caught:
        decode(buffer.getvalue())
    assert caught.value.record == text


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", png_of(Image.new("L", (9, 9)), "JPEG"), encode(np.ones((64, 64), np.uint8), header())[:-40]],
    ids=["nothing", "html", "jpeg", "truncated"],
)
def test_bytes_that_are_no_whole_png_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        decode(body)
    assert "0x" not in str(caught.value)  # a place in memory, which is another one each time


# Depth


@pytest.mark.parametrize(("highest", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_the_smallest_depth_that_holds_all_ids_is_taken(highest: int, dtype: type) -> None:
    ids = np.array([[0, highest]], np.int64)
    narrow = narrowest(ids)
    assert narrow.dtype == dtype
    assert np.array_equal(narrow, ids)


def test_70_000_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="70000 segments"):
        narrowest(np.arange(1, 70_001, dtype=np.int32).reshape(100, 700))


# Measures


def brute_force(ids: Pixels, segment_id: int) -> tuple[int, tuple[int, int, int, int]]:
    pixels = [(x, y) for y in range(ids.shape[0]) for x in range(ids.shape[1]) if ids[y, x] == segment_id]
    if not pixels:
        return 0, (0, 0, 0, 0)
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    box = (min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1)
    return len(pixels), box


@given(arrays.arrays(np.uint8, shapes, elements=st.integers(0, 6)), st.integers(0, 8))
@settings(deadline=None)
def test_areas_and_boxes_are_those_of_a_count_by_hand(ids: Pixels, highest: int) -> None:
    assert list(areas_and_boxes(ids, highest)) == [brute_force(ids, n) for n in range(1, highest + 1)]


def test_measures_of_16_bit_ids_are_exact() -> None:
    ids = np.zeros((300, 300), np.uint16)
    ids[10:290, 250:299] = 65535
    *_, last = areas_and_boxes(ids, 65535)
    assert last == (280 * 49, (250, 10, 49, 280))


@pytest.mark.parametrize("pixels", [1, 30, 64])
def test_measures_of_a_map_in_several_bands_are_exact(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_map, "RUNS_PIXELS", pixels)
    ids = np.random.default_rng(0).integers(0, 5, (13, 10)).astype(np.uint8)
    assert list(areas_and_boxes(ids, 7)) == [brute_force(ids, n) for n in range(1, 8)]


# The stock pipeline's shape


def test_the_pipeline_output_is_a_mask_of_0_and_255_for_each_segment() -> None:
    ids = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)
    output = pipeline_output(ids, segments(2))
    assert [(each["score"], each["label"]) for each in output] == [(1.0, "Gebäude 1"), (0.5, "Gebäude 2")]
    for n, each in enumerate(output, 1):
        assert each["mask"].mode == "L"
        assert np.array_equal(np.asarray(each["mask"]), np.where(ids == n, 255, 0))


def test_encoding_and_decoding_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(encode(np.ones((3, 3), np.uint16), header()))
