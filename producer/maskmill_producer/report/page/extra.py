"""What else the page of a report may show: scores against a truth, and what changed since another job.

    write_score(Path("report"), Score(title="against truth.json", numbers={"PQ": 0.61}, classes=(...), worst=(...)))

The page shows them from its next opening on. Images are named by their numbers: places in the report, from 0.
Shares and qualities are 0 to 1; None is what cannot be said, shown as a dash.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from maskmill.schema import Count, Fraction
from maskmill_producer.report.page.scripts import read_script, write_script
from maskmill_producer.report.page.table import ROWS

SCORE, COMPARISON = "data/score.js", "data/compare.js"
"""Both are there in each report, empty at first: the page asks for no file that may be missing."""

ROWS_FILES = "data/c[0-9]*.js"


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassScore(_Shown):
    """One class: how many segments the truth and the job have, and how well they agree. `thing` is False for stuff."""

    name: str
    thing: bool | None = None
    truth: Count
    found: Count
    pq: Fraction | None = None
    sq: Fraction | None = None
    rq: Fraction | None = None
    iou: Fraction | None = None
    ap: Fraction | None = None


class ImageScore(_Shown):
    """One image by its number, how good it is (PQ), and in words what is wrong: `1 of 3 cats missed`."""

    image: Annotated[int, Field(ge=0)]
    pq: Fraction | None = None
    note: str = ""


class Score(_Shown):
    """A job against a truth: `numbers` of the whole (`{"PQ": 0.61, "mIoU": None}`), each class, the worst images first.

    `notes` are sentences: which classes were not mapped, which images the truth lacks.
    """

    title: str
    numbers: dict[str, float | None]
    classes: tuple[ClassScore, ...] = ()
    worst: tuple[ImageScore, ...] = ()
    notes: tuple[str, ...] = ()


class ClassChange(_Shown):
    """One class in both jobs: segments, share of all pixels, and how well the two agree (PQ)."""

    name: str
    segments_before: Count
    segments_now: Count
    share_before: Fraction | None = None
    share_now: Fraction | None = None
    pq: Fraction | None = None


class Comparison(_Shown):
    """This job against one before: numbers of the whole, each class, the images that differ most first."""

    title: str
    numbers: dict[str, float | None]
    classes: tuple[ClassChange, ...] = ()
    differing: tuple[ImageScore, ...] = ()
    notes: tuple[str, ...] = ()


def write_score(report: Path, score: Score) -> None:
    """Put a score into a report's folder, in place of the one before."""
    write_script(report / SCORE, "score", score.model_dump(mode="json"))


def write_comparison(report: Path, comparison: Comparison) -> None:
    """Put a comparison into a report's folder, in place of the one before."""
    write_script(report / COMPARISON, "compare", comparison.model_dump(mode="json"))


def numbers(report: Path, names: Collection[str]) -> dict[str, int]:
    """The numbers of these images in a report, by their names there; a name that several images have is none."""
    found, often, wanted = dict[str, int](), Counter[str](), set(names)
    for path in report.glob(ROWS_FILES):
        file, rows = read_script(path)
        for place, row in enumerate(rows):
            name = json.loads(row)[0]
            if name in wanted:
                found[name] = file * ROWS + place
                often[name] += 1
    return {name: number for name, number in found.items() if often[name] == 1}
