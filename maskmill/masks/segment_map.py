"""Segment maps and the PNG that stores them: pixel = segment id, 0 = no segment, the segments themselves as PNG text.

One object carries all that the pipeline returned for one image, so mask and metadata are never out of step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from maskmill.errors import InvalidRecord
from maskmill.masks.png import international_text, read_png, why_unread, write_png
from maskmill.schema import VERSION, ImageWarning, Record, Segment, Subtask

TEXT_KEY = "maskmill"
MAX_SEGMENTS = 2**16 - 1
CONTENT_TYPE = "image/png"
RUNS_PIXELS = 2**20
"""Pixels whose runs are held together: in the worst map 32 MiB."""

SegmentMap = NDArray[np.uint16] | NDArray[np.uint8]
"""H × W, uint8 with up to 255 segments, else uint16."""


class MaskHeader(Record):
    """The PNG's text: what was segmented, by which spec, and the segments in the pipeline's order.

    `image_version` is that of the image's file (see `maskmill.images.fetch`), `job` the one that made the mask;
    `scale` and `warnings` are the outcome's, which a job that keeps the mask takes from here.
    """

    version: Literal[1] = VERSION
    uri: str
    fingerprint: str
    subtask: Subtask
    segments: tuple[Segment, ...]
    image_version: str | None = None
    job: str | None = None
    scale: tuple[float, float] | None = None
    warnings: tuple[ImageWarning, ...] | None = None


class Mask(NamedTuple):
    """A mask that was read: its segment map and its header."""

    ids: SegmentMap
    header: MaskHeader

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.ids.shape[1], self.ids.shape[0]


def encode(ids: SegmentMap, header: MaskHeader) -> bytes:
    """A greyscale PNG of 8 or 16 bits with the header as an international text chunk (PNG, 3rd edition, 11.3.3.4)."""
    info = PngImagePlugin.PngInfo()
    text = header.to_json().decode()
    # Pillow refuses to inflate a text above `MAX_TEXT_CHUNK`, but reads a plain one.
    info.add_itxt(TEXT_KEY, text, zip=len(text) < PngImagePlugin.MAX_TEXT_CHUNK // 4)
    return write_png(ids, [(kind, data) for kind, data, *_ in info.chunks])


def decode(png: bytes) -> Mask:
    """The segment map and header of a stored mask; raises `InvalidRecord` for any other bytes.

    Each chunk's checksum is verified first: not every reader of pixels does so, nor minds what is cut off behind them.
    """
    header = read_header(png)
    try:
        pixels = read_png(png).pixels
    except Exception as error:  # what Pillow raises for broken files is no closed set
        raise InvalidRecord(f"not a whole PNG: {why_unread(error)}", "") from error
    ids: SegmentMap = pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16, copy=False)
    return Mask(ids, header)


def read_header(png: bytes) -> MaskHeader:
    """The header of a whole mask, without decoding a pixel; raises `InvalidRecord` for any other bytes.

    Each chunk's checksum is verified, so a file that was cut off or damaged is no mask.
    """
    try:
        text = international_text(png, TEXT_KEY)
    except ValueError as error:
        raise InvalidRecord(f"not a whole PNG: {error}", "") from error
    if text is None:
        raise InvalidRecord("a PNG without the maskmill text is not a mask of ours", "")
    return MaskHeader.from_json(text)


def narrowest(ids: NDArray[np.integer]) -> SegmentMap:
    """The same map in the smallest dtype that holds it; raises `ValueError` above 65,535 segments."""
    highest = int(ids.max(initial=0))
    if highest > MAX_SEGMENTS:
        raise ValueError(f"{highest} segments in one image; a mask holds {MAX_SEGMENTS}")
    return ids.astype(np.uint8) if highest <= 255 else ids.astype(np.uint16)


def areas_and_boxes(ids: SegmentMap, highest: int) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """For each id from 1 to `highest`: its area in pixels and its COCO box (x, y, width, height)."""
    height, width = ids.shape
    labels = max(highest, int(ids.max(initial=0))) + 1
    areas, right, bottom = (np.zeros(labels, np.int64) for _ in range(3))
    left, top = np.full(labels, width), np.full(labels, height)
    for label, row, start, stop in _runs(ids):
        areas += np.bincount(label, weights=stop - start, minlength=labels).astype(np.int64)
        np.minimum.at(left, label, start)
        np.maximum.at(right, label, stop)
        np.minimum.at(top, label, row)
        np.maximum.at(bottom, label, row + 1)
    boxes = np.where(areas > 0, (left, top, right - left, bottom - top), 0)[:, 1 : highest + 1]
    return zip(areas[1 : highest + 1].tolist(), zip(*boxes.tolist(), strict=True), strict=True)


def _runs(ids: SegmentMap) -> Iterator[tuple[NDArray[np.integer], ...]]:
    """Runs of equal pixels within a row, some rows at a time: id, row, first column, column behind the last."""
    height, width = ids.shape
    step = max(1, RUNS_PIXELS // max(1, width))
    for first in range(0, height, step):
        band = ids[first : first + step]
        begins = np.ones(band.shape, bool)
        np.not_equal(band[:, 1:], band[:, :-1], out=begins[:, 1:])
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=band.size)
        row, column = np.divmod(starts, width)
        yield band.ravel()[starts], row + first, column, column + lengths


def pipeline_output(ids: SegmentMap, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """What the stock pipeline returns: for each segment `score`, `label` and `mask` (PIL, mode L, 0 or 255)."""
    return [
        {
            "score": segment.score,
            "label": segment.label,
            "mask": Image.fromarray(((ids == segment.id) * 255).astype(np.uint8)),
        }
        for segment in segments
    ]
