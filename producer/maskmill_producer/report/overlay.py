"""An image with its segments drawn over it: thin fills, outlines, labels, and rings around what is too small to see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskmill.colours import UNNAMED, Colour, colour_of
from maskmill.masks.segment_map import MAX_SEGMENTS, SegmentMap
from maskmill.schema import Segment
from maskmill_producer.report.labels import Box, Labels, Named
from maskmill_producer.report.lettering import Lettering

MOST, LEAST = 4096, 320
"""Pixels along the longer side of a picture: a larger image is shown smaller, a tiny one with larger pixels."""

LARGE_PIXELS = 32 * 2**20
"""Images with more are drawn one at a time, since each takes hundreds of megabytes."""

OPACITY = 0.35
DARK = (16, 16, 20)
CROWD = 30
"""Segments above which labels are smaller."""

MOST_LABELS, MOST_RINGS = 250, 1000
RING_AREA = 80
"""Pixels below which a segment of the picture is ringed."""


def overlay(image: Image.Image, ids: SegmentMap, segments: Sequence[Segment]) -> Image.Image:
    """The image in a size to look at, with its segments: `overlay(image, result.segment_map, result.segments)`."""
    longer = max(image.size)
    if longer > MOST:
        image = shrunk(image, MOST / longer)
    elif longer < LEAST:
        times = -(-LEAST // longer)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    letters = max(image.size) // (60 if len(segments) <= CROWD else 100)
    return drawn(image, ids, segments, letters=min(28, max(12, letters)))


def shrunk(image: Image.Image, scale: float) -> Image.Image:
    """The image at a scale, of one pixel at least."""
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def drawn(
    picture: Image.Image, ids: SegmentMap, segments: Sequence[Segment], letters: int, opacity: float = OPACITY
) -> Image.Image:
    """The picture with the segments of its map, which may be larger or smaller; letters are so many pixels high."""
    scale = picture.width / ids.shape[1], picture.height / ids.shape[0]
    shown = np.asarray(Image.fromarray(ids).resize(picture.size, Image.Resampling.NEAREST))
    line = max(1, round(max(picture.size) / 640))
    coloured = _coloured(picture, shown, segments, line, opacity)
    draw = ImageDraw.Draw(coloured)
    known = [each for each in segments if each.id <= MAX_SEGMENTS]
    areas = np.bincount(shown.ravel(), minlength=max((each.id for each in known), default=0) + 1)
    there = sorted((each for each in known if each.area), key=lambda each: -areas[each.id])
    boxes = {each.id: _box(each, ids, scale) for each in there}
    for each in there[-MOST_RINGS:]:
        if areas[each.id] < RING_AREA:
            boxes[each.id] = _ring(draw, boxes[each.id], colour_of(each.title), 6 + 2 * line)
    named = [
        Named(each.id, boxes[each.id], int(areas[each.id]), Lettering.of(_text(each), letters), colour_of(each.title))
        for each in there[:MOST_LABELS]
    ]
    labels = list(Labels(shown).place(named))
    for label in labels:
        label.draw_line(draw)
    for label in labels:
        label.draw(draw)
    return coloured


def _text(segment: Segment) -> str:
    return segment.title if segment.score is None else f"{segment.title} {segment.score:.2f}"


def _box(segment: Segment, ids: SegmentMap, scale: tuple[float, float]) -> Box:
    """The segment's box in a picture of another scale than its map; what lies outside of that is cut off."""
    x, y, width, height = segment.box
    left, right = (min(max(each, 0), ids.shape[1]) * scale[0] for each in (x, x + width))
    top, bottom = (min(max(each, 0), ids.shape[0]) * scale[1] for each in (y, y + height))
    return left, top, right, bottom


def _coloured(
    picture: Image.Image, ids: SegmentMap, segments: Sequence[Segment], line: int, opacity: float
) -> Image.Image:
    """Thin fills, then each segment's border in its colour, with a dark line where two meet."""
    colours = np.full((int(ids.max(initial=0)) + 1, 3), UNNAMED, np.uint8)
    for each in segments:
        if each.id < len(colours):
            colours[each.id] = colour_of(each.title)
    layer = Image.fromarray(colours[ids])
    meeting = _meeting(ids)
    opaque = np.where(ids > 0, np.uint8(255 * opacity), np.uint8(0))
    opaque[_widened(meeting, line) & (ids > 0)] = 255
    coloured = picture.convert("RGB")
    coloured.paste(layer, mask=Image.fromarray(opaque))
    coloured.paste(DARK, mask=Image.fromarray(_widened(meeting, (line - 1) // 2) & ~_thin(ids)))
    return coloured


def _meeting(ids: SegmentMap) -> NDArray[np.bool_]:
    """Pixels whose left or upper neighbour is of another segment."""
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    return edges


def _thin(ids: SegmentMap) -> NDArray[np.bool_]:
    """Pixels between two others, of which no dark line may take the colour."""
    thin = np.zeros(ids.shape, bool)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    thin[:, 1:-1] |= across[:, 1:] & across[:, :-1]
    thin[1:-1] |= down[1:] & down[:-1]
    return thin


def _widened(pixels: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """The pixels and those up to so many beside them."""
    for _ in range(times):
        wider = pixels.copy()
        wider[:, 1:] |= pixels[:, :-1]
        wider[:, :-1] |= pixels[:, 1:]
        wider[1:] |= pixels[:-1]
        wider[:-1] |= pixels[1:]
        pixels = wider
    return pixels


def _ring(draw: ImageDraw.ImageDraw, inside: Box, colour: Colour, radius: int) -> Box:
    """Draw a ring around a box, and return its own."""
    left, top, right, bottom = inside
    box = left - radius, top - radius, right + radius, bottom + radius
    draw.ellipse(box, outline=DARK, width=4)
    draw.ellipse((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=colour, width=2)
    return box
