"""A row an image: columns in `index.js`, by which the page filters and sorts, and the rest in files of 100 rows.

A column takes an image one to four bytes; classes take as many for each that the image has.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.schema import Outcome, Status
from maskmill_producer.report.page.scripts import in_script, packed, write_script

ROWS = 100
"""In a file. A view that is sorted by something else reads a file a cell, so files are small.

Each row is JSON as a text: the page parses those alone that it shows.
"""

STATUSES = tuple(Status)
NO_SCORE = 65535
SCORE_STEPS = 65534
MOST_SEGMENTS = 65535

NOT_CHOSEN, SHOWN, UNREADABLE = 0, 1, 2
"""Whether an image has a picture: not asked for, there, or asked for and not to be had."""


class Table:
    """Filled image by image, in order; rows leave memory as soon as their file is full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[str] = []
        self._codes: dict[str, int] = {"": 0}
        self._status, self._code, self._segments, self._low = (array(kind) for kind in "BHHH")
        self._class_counts, self._classes, self._picture = array("H"), array("I"), array("B")

    def __len__(self) -> int:
        return len(self._status)

    def add(self, name: str, outcome: Outcome, classes: Sequence[int]) -> int:
        """Add an image with the numbers of its segments' classes; returns its own number."""
        segments, different = outcome.segments or (), sorted(set(classes))
        scores = [each.score for each in segments if each.score is not None]
        self._status.append(STATUSES.index(outcome.status))
        self._code.append(self._code_number(outcome))
        self._segments.append(min(MOST_SEGMENTS, len(segments)))
        self._low.append(round(min(1.0, max(0.0, min(scores))) * SCORE_STEPS) if scores else NO_SCORE)
        self._class_counts.append(len(different))
        self._classes.extend(different)
        self._picture.append(NOT_CHOSEN)
        self._rows.append(in_script(_row(name, outcome, classes)))
        if len(self._rows) == ROWS:
            self._flush()
        return len(self) - 1

    def set_picture(self, number: int, state: int) -> None:
        """Note that the image has a picture, or that it was not to be had."""
        self._picture[number] = state

    def for_page(self) -> dict[str, Any]:
        """The columns; writes what rows are left."""
        if self._rows:
            self._flush()
        columns = {
            "status": self._status,
            "code": self._code,
            "segments": self._segments,
            "low": self._low,
            "classCounts": self._class_counts,
            "picture": self._picture,
        }
        of_type = {name: packed(np.asarray(values)) for name, values in columns.items()}
        classes = np.asarray(self._classes, np.uint32)
        return {
            "images": len(self),
            "rowsInFile": ROWS,
            "codes": list(self._codes),
            "classes": packed(classes.astype(np.uint16) if classes.max(initial=0) < 2**16 else classes),
            "classBytes": 2 if classes.max(initial=0) < 2**16 else 4,
            **of_type,
        }

    def _code_number(self, outcome: Outcome) -> int:
        """Of the code that it failed with, else of its first warning, else 0."""
        code = outcome.code or (outcome.warnings[0].code if outcome.warnings else "")
        return self._codes.setdefault(code, len(self._codes))

    def _flush(self) -> None:
        number = (len(self) - 1) // ROWS
        write_script(self._folder / f"c{number:05d}.js", "rows", number, self._rows)
        self._rows = []


def _row(name: str, outcome: Outcome, classes: Sequence[int]) -> list[Any]:
    """Name, width, height, mask, what is said of it, segments: class, id, score, area, box."""
    said = [f"{each.code}: {each.reason}" for each in outcome.warnings or ()]
    segments = [
        [number, each.id, None if each.score is None else round(each.score, 3), each.area, *each.box]
        for number, each in zip(classes, outcome.segments or (), strict=True)
    ]
    remarks = [outcome.reason, *said] if outcome.reason else said
    return [name, outcome.width or 0, outcome.height or 0, outcome.mask_key or "", remarks, segments]
