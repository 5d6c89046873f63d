"""One picture of many results: each image beside its coloured, labelled segments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from maskmill.errors import UsageError
from maskmill.masks.segment_map import SegmentMap
from maskmill.schema import Segment

CELL = (260, 200)
"""Width and height in pixels of one picture of a pair."""

GAP, CAPTION, COLUMNS = 12, 20, 3
BACKGROUND, INK, FAINT = (250, 250, 248), (32, 32, 36), (120, 120, 126)
OPACITY = 0.55
SMALL_FONT_PIXELS, FONT_PIXELS = 11, 13
SMALL_FONT, FONT = ImageFont.load_default(SMALL_FONT_PIXELS), ImageFont.load_default(FONT_PIXELS)

# Tableau's ten and their lighter twins (Few, 'Show Me the Numbers'): told apart on photographs and by most eyes.
PALETTE = (
    (78, 121, 167), (242, 142, 43), (225, 87, 89), (118, 183, 178), (89, 161, 79),
    (237, 201, 72), (176, 122, 161), (255, 157, 167), (156, 117, 95), (186, 176, 172),
)  # fmt: skip


Colour = tuple[int, int, int]
Colours = Mapping[str, Colour]


@dataclass(frozen=True)
class Panel:
    """One image with its segments, already shrunk to fit `CELL`; `size` is the image's own, in pixels."""

    name: str
    size: tuple[int, int]
    picture: Image.Image
    ids: SegmentMap
    segments: Sequence[Segment]

    @classmethod
    def of(cls, name: str, image: Image.Image, ids: SegmentMap, segments: Sequence[Segment]) -> Self:
        """A panel from an RGB image and its segment map."""
        scale = min(CELL[0] / image.width, CELL[1] / image.height)
        fitting = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        picture = image.resize(fitting, Image.Resampling.LANCZOS)
        small = np.asarray(Image.fromarray(ids).resize(picture.size, Image.Resampling.NEAREST))
        return cls(name, image.size, picture, small, segments)


def contact_sheet(panels: Sequence[Panel], title: str) -> Image.Image:
    """All panels on one RGB picture, in rows of `COLUMNS` pairs."""
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    pair = 2 * CELL[0] + GAP, CELL[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * (pair[0] + 2 * GAP), rows * pair[1] + 4 * GAP + FONT_PIXELS), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, FONT)
    colours = colours_of(panels)
    for place, panel in enumerate(panels):
        corner = GAP + place % columns * (pair[0] + 2 * GAP), 3 * GAP + 8 + place // columns * pair[1]
        _paste_pair(sheet, draw, panel, colours, corner)
    return sheet


def _paste_pair(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, colours: Colours, corner: tuple[int, int]
) -> None:
    left, top = corner
    sheet.paste(panel.picture, (left, top))
    sheet.paste(overlay(panel, colours), (left + CELL[0] + GAP // 2, top))
    caption = f"{panel.name} · {panel.size[0]} x {panel.size[1]} · {len(panel.segments)} segments"
    draw.text((left, top + panel.picture.height + 3), caption, FAINT, SMALL_FONT)


def overlay(panel: Panel, colours: Colours) -> Image.Image:
    """The panel's picture with each segment in its label's colour, outlined and named."""
    ids = panel.ids
    pixels = np.asarray(panel.picture.convert("L").convert("RGB")).astype(np.float32)
    for segment in panel.segments:
        inside = ids == segment.id
        pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * np.array(colours[segment.title])
    pixels[_edges(ids)] = 255
    coloured = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(coloured)
    for segment in sorted(panel.segments, key=lambda each: each.area):
        _write_label(draw, ids == segment.id, segment, colours[segment.title])
    return coloured


def colours_of(panels: Iterable[Panel]) -> Colours:
    """A colour for each label of the sheet, the same on all its panels."""
    labels = sorted({segment.title for panel in panels for segment in panel.segments})
    return {label: PALETTE[place % len(PALETTE)] for place, label in enumerate(labels)}


def _edges(ids: SegmentMap) -> NDArray[np.bool_]:
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    return edges


def _write_label(draw: ImageDraw.ImageDraw, inside: NDArray[np.bool_], segment: Segment, colour: Colour) -> None:
    """The label on the segment's pixel nearest to its middle, shifted in where it would leave the picture."""
    if not inside.any():
        return
    rows, columns = np.nonzero(inside)
    text = segment.title if segment.score is None else f"{segment.title} {segment.score:.2f}"
    width, height = draw.textlength(text, SMALL_FONT), SMALL_FONT_PIXELS
    nearest = np.argmin((rows - np.median(rows)) ** 2 + (columns - np.median(columns)) ** 2)
    x = min(max(float(columns[nearest]) - width / 2, 3), max(inside.shape[1] - width - 3, 3))
    y = min(max(float(rows[nearest]) - height / 2, 2), max(inside.shape[0] - height - 4, 2))
    draw.rounded_rectangle((x - 3, y - 1, x + width + 3, y + height + 3), 3, colour, INK)
    draw.text((x, y), text, (255, 255, 255), SMALL_FONT, stroke_width=1, stroke_fill=INK)


def write_contact_sheet(path: Path, panels: Iterable[Panel], title: str) -> bool:
    """Write the sheet as PNG; False, and no file, when there is no panel. Raises `UsageError` if it cannot."""
    shown = list(panels)
    if shown:
        try:
            contact_sheet(shown, title).save(path, optimize=True)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return bool(shown)
