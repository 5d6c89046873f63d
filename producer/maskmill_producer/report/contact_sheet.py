"""One picture of many results: each image beside its coloured, labelled segments, and images that failed with why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Self

from PIL import Image, ImageDraw

from maskmill.colours import Colour
from maskmill.errors import UsageError
from maskmill.masks.segment_map import SegmentMap
from maskmill.schema import Segment
from maskmill_producer.report.lettering import Lettering, shortened
from maskmill_producer.report.overlay import drawn, shrunk

CELL = (260, 200)
"""Width and height in pixels of one picture of a pair."""

PAIR = 2 * CELL[0] + 6
GAP, CAPTION, COLUMNS = 12, 22, 3
PAPER, INK, FAINT, RED, BLANK = (250, 250, 248), (32, 32, 36), (96, 96, 102), (170, 20, 30), (232, 232, 230)
SMALL, LARGE = 11, 14
OPACITY = 0.55
NAME_LETTERS, REASON_LETTERS, REASON_LINES, FAILED_HEIGHT = 56, 84, 5, 100


@dataclass(frozen=True)
class Panel:
    """One image, shrunk to fit `CELL`, beside the same with its segments; `size` is the image's own, in pixels."""

    name: str
    size: tuple[int, int]
    picture: Image.Image
    coloured: Image.Image
    segments: int

    @classmethod
    def of(cls, name: str, image: Image.Image, ids: SegmentMap, segments: Sequence[Segment]) -> Self:
        """A panel from an RGB image and its segment map."""
        picture = shrunk(image, min(CELL[0] / image.width, CELL[1] / image.height))
        grey = picture.convert("L").convert("RGB")
        return cls(name, image.size, picture, drawn(grey, ids, segments, SMALL, OPACITY), len(segments))

    @property
    def height(self) -> int:
        """In pixels, without the caption."""
        return self.picture.height

    @property
    def caption(self) -> str:
        """What stands below."""
        number = f"{self.segments:,} segment{'' if self.segments == 1 else 's'}"
        return f"{shortened(self.name, NAME_LETTERS)} · {self.size[0]} x {self.size[1]} · {number}"

    def paste(self, sheet: Image.Image, corner: tuple[int, int]) -> None:
        """Put both pictures there."""
        sheet.paste(self.picture, corner)
        sheet.paste(self.coloured, (corner[0] + PAIR - CELL[0], corner[1]))


@dataclass(frozen=True)
class Failed:
    """An image that has no mask, and why."""

    name: str
    code: str
    reason: str
    height: int = FAILED_HEIGHT

    @property
    def caption(self) -> str:
        """What stands below."""
        return shortened(self.name, NAME_LETTERS)

    def paste(self, sheet: Image.Image, corner: tuple[int, int]) -> None:
        """Write code and reason there."""
        draw = ImageDraw.Draw(sheet)
        left, top = corner
        draw.rectangle((left, top, left + PAIR, top + self.height), BLANK)
        _write(draw, (left + GAP, top + 6), f"failed: {self.code}", LARGE, RED)
        for place, line in enumerate(wrap(self.reason, REASON_LETTERS)[:REASON_LINES]):
            _write(draw, (left + GAP, top + 28 + 13 * place), line, SMALL, INK)


def contact_sheet(panels: Sequence[Panel | Failed], titles: Sequence[str]) -> Image.Image:
    """All panels on one RGB picture, in rows of `COLUMNS`, below lines that say what it shows."""
    rows = [panels[place : place + COLUMNS] for place in range(0, len(panels), COLUMNS)]
    heights = [max(each.height for each in row) + CAPTION + GAP for row in rows]
    head = 2 * GAP + len(titles) * (LARGE + 6)
    columns = min(COLUMNS, len(panels))
    sheet = Image.new("RGB", (columns * (PAIR + GAP) + GAP, head + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, title in enumerate(titles):
        _write(draw, (GAP, GAP + place * (LARGE + 6)), title, LARGE, FAINT if place else INK)
    for number, row in enumerate(rows):
        top = head + sum(heights[:number])
        for column, panel in enumerate(row):
            left = GAP + column * (PAIR + GAP)
            panel.paste(sheet, (left, top))
            _write(draw, (left, top + panel.height + 3), panel.caption, SMALL, FAINT)
    return sheet


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, ink: Colour) -> None:
    Lettering.of(text, size, longest=110).draw(draw, place, ink)


def write_contact_sheet(path: Path, panels: Sequence[Panel | Failed], titles: Sequence[str]) -> bool:
    """Write the sheet as PNG; False, and no file, when there is no panel. Raises `UsageError` if it cannot."""
    try:
        path.unlink(missing_ok=True)
        if panels:
            contact_sheet(panels, titles).save(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return bool(panels)
