"""TIFF: which page is the picture, who reads it right, and the pages that Pillow does not, read by tifffile.

Pillow reads 8-bit pages as the stock pipeline does. It takes the low bytes of planar 16-bit strips for high ones, one
band of several for the whole, and knows few number types. tifffile is the reader of those who use them.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from maskmill.errors import DecompressionBomb, ImageTruncated, ImageUnsupported
from maskmill.images.brightness import Samples
from maskmill.images.notes import bands_dropped, first_frame, page_chosen, transparent
from maskmill.schema import ImageWarning

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Little- and big-endian, classic (TIFF 6.0, section 2) and BigTIFF."""

MAX_PAGES = 1000
"""Pages that are looked at: directories can be chained without end."""

THUMBNAIL, THUMBNAIL_TIMES = 320, 3
"""A first page is a thumbnail if its longer side is no more, and another page's sides are so many times as long."""

MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
"""Tag 262, PhotometricInterpretation; 3 is a palette, 5 CMYK, 6 YCbCr, 8 CIE L*a*b*."""

PILLOW_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
"""None, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard: those of Pillow's wheels that a test compares."""

RAW_OF_CAMERAS = {32803, 34892}
"""Colour filter array and linear raw (DNG 1.7)."""

NO_PREDICTOR, PREDICTED = 1, {1, 5, 8, 32946, 34925, 50000}
"""Tag 317, and the compressions that have one. Of others, libtiff ignores it and tifffile does not."""

JPEG_2000 = {33003, 33004, 33005, 34712}
"""Compressions that readers agree on for up to four 8-bit samples."""

ALPHA, STRAIGHT_ALPHA = {1, 2}, 2
"""Tag 338, ExtraSamples: 1 is multiplied into the colours."""

CONVERT = "convert it to 8- or 16-bit RGB"


@dataclass(frozen=True)
class Page:
    """The page that is taken, and what is to be said about that."""

    number: int
    found: Any
    notes: tuple[ImageWarning, ...] = ()

    @property
    def for_pillow(self) -> bool:
        """Whether Pillow reads a page of this kind right."""
        page = self.found
        bits: int = page.bitspersample
        bands: int = page.samplesperpixel
        if page.compression not in PILLOW_COMPRESSIONS or page.sampleformat != 1 or not _is_clear(page):
            return False
        contiguous: bool = page.planarconfig == 1 or bands == 1
        match page.photometric:
            case 0 | 1 if bands == 1:
                return bits in (1, 2, 4, 8)
            case 0 | 1 if bands == 2:
                return bits == 8 and contiguous and set(_extras(page)) <= ALPHA
            case 2:
                return bits == 8 and bands >= 3 and (bands <= 4 or contiguous)
            case 3:
                wide: bool = page.colormap is not None and page.colormap.max() > 255  # else one of 8 bits, all black
                whole = bands == 1 or (bands == 2 and contiguous and bool(_extras(page)))
                return bits in (1, 2, 4, 8) and whole and wide
            case 5:
                inks: bool = page.tags.valueof(332, 1) == 1  # InkSet: cyan, magenta, yellow, black
                return inks and bands == 4 and (bits == 8 or (bits == 16 and contiguous))
            case 6:
                fine: bool = page.tags.valueof(530, (2, 2)) == (1, 1)  # chroma as luma
                return bits == 8 and bands == 3 and contiguous and (fine or page.compression != 1)
            case 8:
                return bits == 8 and bands == 3 and contiguous
        return False


@contextmanager
def picture_page(data: bytes, max_pixels: int) -> Iterator[Page]:
    """The page that a person would call the picture. Raises `ImageError`, or what tifffile raises for broken files."""
    tifffile = _reader()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = list(_pages(file.pages))
        _refuse_raw(pages, data)
        number, page = _choose(pages)
        if max(_pixels(page), _tile_pixels(page)) > max_pixels:
            raise DecompressionBomb
        yield Page(number, page, tuple(_notes(number, page, pages)))


def _pages(found: Any) -> Iterator[Any]:
    """The first page, and those behind it as far as they are whole: a broken one does not harm the first."""
    yield found.first
    with suppress(Exception):
        for page in islice(found, 1, MAX_PAGES):
            if not all(isinstance(value, int) for value in (page.imagewidth, page.imagelength, page.subfiletype)):
                return
            yield page


def _is_picture(page: Any) -> bool:
    """Whether it says neither that it is a smaller version of another page, nor a mask (tag 254, NewSubfileType)."""
    return not page.subfiletype & 0b101


def _choose(pages: list[Any]) -> tuple[int, Any]:
    """The first page that is a picture; instead of a thumbnail, the largest."""
    pictures = [each for each in enumerate(pages) if _is_picture(each[1])] or [(0, pages[0])]
    number, first = pictures[0]
    at, largest = max(pictures, key=lambda each: each[1].imagewidth * each[1].imagelength)
    small = max(first.imagewidth, first.imagelength) <= THUMBNAIL
    larger = min(largest.imagewidth / max(1, first.imagewidth), largest.imagelength / max(1, first.imagelength))
    return (at, largest) if small and larger >= THUMBNAIL_TIMES else (number, first)


def _notes(number: int, page: Any, pages: list[Any]) -> Iterator[ImageWarning]:
    equals, extras = sum(map(_is_picture, pages)), _extras(page)
    if number:
        yield page_chosen(number, len(pages), page.imagewidth, page.imagelength)
    elif equals > 1:
        yield first_frame(equals, "pages")
    if page.photometric == RGB and extras and extras[0] not in ALPHA:
        yield bands_dropped(len(extras))


def samples_of(page: Page, data: bytes) -> tuple[Samples, list[ImageWarning]]:
    """The values of a page that is not for Pillow. Raises `ImageUnsupported` for what is not known to be right."""
    found, notes = page.found, list(page.notes)
    _refuse_unknown(found)
    _refuse_cut_off(found, len(data))
    values = found.asarray(maxworkers=1)
    if found.planarconfig == 2 and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    bands = 3 if found.photometric == RGB else 1
    values = values.reshape(found.imagelength, found.imagewidth, -1)
    notes += _left_out(values[..., bands:], _extras(found))
    values = values[..., :3] if bands == 3 else values[..., 0]
    white = float(2**found.bitspersample - 1) if found.sampleformat == 1 and found.bitspersample <= 16 else None
    return Samples(values, white, _nodata(found), inverted=found.photometric == MIN_IS_WHITE), notes


def orientation(page: Page) -> int:
    """Tag 274, as in EXIF."""
    return int(page.found.tags.valueof(274, 1))


def _reader() -> Any:
    try:
        import tifffile
    except ImportError:
        raise ImageUnsupported("TIFF files are read with maskmill[worker], which is not installed here") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is in its outcome
    return tifffile


def _pixels(page: Any) -> int:
    return int(page.imagewidth * page.imagelength * page.imagedepth * max(1, page.samplesperpixel / 4))


def _tile_pixels(page: Any) -> int:
    return int(page.tilewidth * page.tilelength) if page.is_tiled else 0


def _refuse_raw(pages: list[Any], data: bytes) -> None:
    below, dng, canon = list[Any](), 50706 in pages[0].tags, data[8:11] == b"CR\x02"
    with suppress(Exception):  # the main pages do not need the others
        below = list(islice(pages[0].pages or (), MAX_PAGES))
    if dng or canon or any(page.photometric in RAW_OF_CAMERAS for page in (*pages, *below)):
        raise ImageUnsupported("a camera's raw file, of which TIFF readers see a preview: develop it to JPEG or TIFF")


def _refuse_unknown(page: Any) -> None:
    """What no reader could show without a guess."""
    tifffile = _reader()
    bands, extras = page.samplesperpixel, _extras(page)
    if page.dtype is None or page.dtype.kind not in "uif" or page.imagedepth != 1:
        raise ImageUnsupported(f"TIFF: samples of {page.bitspersample} bits, format {page.sampleformat}: {CONVERT}")
    if page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB) or (page.photometric == RGB and bands < 3):
        raise ImageUnsupported(f"TIFF: colours of kind {page.photometric!r} in {page.bitspersample} bits: {CONVERT}")
    if page.photometric != RGB and bands > 1 and (bands > 2 or not set(extras) <= ALPHA or not extras):
        raise ImageUnsupported(
            f"TIFF: {bands} bands of which none is said to be red, green or blue: choose three, such as with "
            "`gdal_translate -b 3 -b 2 -b 1 -co PHOTOMETRIC=RGB`"
        )
    if not _is_clear(page):
        raise ImageUnsupported(
            f"TIFF: {page.compression!r} with {page.predictor!r}, {page.bitspersample} bits: {CONVERT}"
        )
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        raise ImageUnsupported(f"TIFF: no decoder for {page.compression!r}, {page.predictor!r}: {CONVERT}") from None


def _is_clear(page: Any) -> bool:
    """Whether all readers agree on what the page's compression means."""
    predicted = page.predictor == NO_PREDICTOR or page.compression in PREDICTED
    simple = page.bitspersample == 8 and page.sampleformat == 1 and page.samplesperpixel <= 4
    odd = page.compression in JPEG_2000 and not simple
    return bool(predicted and not odd and page.imagedepth == 1)


def _refuse_cut_off(page: Any, size: int) -> None:
    """Strips that are not there, which tifffile shows as zeros."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if len(ends) < math.prod(page.chunked) or max(ends, default=0) > size or not all(page.databytecounts):
        raise ImageTruncated("TIFF: ends before all pixels are there")


def _extras(page: Any) -> tuple[int, ...]:
    return tuple(map(int, page.extrasamples or ()))


def _left_out(rest: Any, extras: tuple[int, ...]) -> list[ImageWarning]:
    """That alpha hides something. Raises for colours that alpha has darkened."""
    if not rest.shape[-1] or not extras or extras[0] not in ALPHA:
        return []
    opaque = np.iinfo(rest.dtype).max if rest.dtype.kind in "ui" else 1
    if (rest[..., 0] >= opaque).all():
        return []
    if extras[0] != STRAIGHT_ALPHA:
        raise ImageUnsupported("TIFF: wide colours that are multiplied by alpha: save it without transparency")
    return [transparent()]


def _nodata(page: Any) -> float | None:
    """GDAL_NODATA, tag 42113."""
    try:
        return float(page.tags.valueof(42113, "").strip("\0 ")) if 42113 in page.tags else None
    except ValueError:
        return None
