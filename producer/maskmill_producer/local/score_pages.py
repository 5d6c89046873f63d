"""Scores and comparisons as pages of a report that is there: `maskmill score … --report DIR`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from maskmill.errors import UsageError
from maskmill.machine import writing_to
from maskmill.scoring.scores import Comparison, ImageChange, ImageScore, Scores
from maskmill.settings import load_settings
from maskmill_producer.local.folder_source import FolderSource
from maskmill_producer.local.pictures import Pictures
from maskmill_producer.local.recorded import Recorded
from maskmill_producer.local.score_words import about_comparison, about_scores, compared, counts, scored
from maskmill_producer.report.page import extra
from maskmill_producer.report.page.folder import MARK

Ranked = TypeVar("Ranked", ImageScore, ImageChange)


def check_report(folder: Path, job: str, results: Recorded | None) -> None:
    """Raise `UsageError` unless a report of this job, or of these results, is in the folder: before there is work."""
    try:
        found = json.loads((folder / MARK).read_bytes())
        of_job = found["job"] if found["complete"] else None
    except (OSError, ValueError, KeyError, TypeError):
        of_job = None
    if of_job != (results.manifest().job if results else job):
        whose = job if results else f"job {job}"
        raise UsageError(f"{folder} holds no report of {whose}: write it with `maskmill report {job} --out {folder}`")


def add_score(folder: Path, scores: Scores, results: Recorded | None) -> None:
    """Show the scores of a job, or of results in a folder, in its report.

    Raises `UsageError` where that cannot be written.
    """
    numbers = {
        "PQ": scores.all.pq,
        "SQ": scores.all.sq,
        "RQ": scores.all.rq,
        "PQ of things": scores.things.pq,
        "PQ of stuff": scores.stuff.pq,
        "AP": scores.ap.ap if scores.ap else None,
        "mean IoU": scores.mean_iou,
    }
    classes = (
        extra.ClassScore(
            name=each.name,
            thing=each.thing,
            truth=each.true,
            found=each.predicted,
            pq=each.pq,
            sq=each.sq,
            rq=each.rq,
            iou=each.iou,
            ap=each.ap,
        )
        for each in scores.classes
    )
    page = extra.Score(
        title=f"Against {Path(scores.truth).name}",
        numbers=numbers,
        classes=tuple(classes),
        worst=tuple(_worst(number, each) for number, each in _numbered(folder, scores.worst, results)),
        notes=(scored(scores), *about_scores(scores)),
    )
    with writing_to(folder):
        extra.write_score(folder, page)


def _worst(number: int, image: ImageScore) -> extra.ImageScore:
    note = image.without_mask or _by_label(missed=image.missed, false=image.false)
    return extra.ImageScore(image=number, pq=image.pq, note=note)


def _numbered(folder: Path, images: Sequence[Ranked], results: Recorded | None) -> Iterator[tuple[int, Ranked]]:
    """The images that the report has, each with its number there: a folder of results has an order of its own."""
    numbers: list[int | None] = [image.number for image in images]
    if results:
        name_of = Pictures(load_settings(), FolderSource.open(load_settings(), results.path).record).name_of
        names = [name_of(image.uri) for image in images]
        in_report = extra.numbers(folder, names)
        numbers = [in_report.get(name) for name in names]
    return ((number, image) for number, image in zip(numbers, images, strict=True) if number is not None)


def add_comparison(folder: Path, found: Comparison, results: Recorded | None) -> None:
    """Show in the report of job B what changed from job A; raises `UsageError` where it cannot be written."""
    numbers = {"PQ": found.all.pq, "mean IoU": found.mean_iou, "pixels of the same class": found.same_pixels}
    pixels = found.pixels or 1
    classes = (
        extra.ClassChange(
            name=each.name,
            segments_before=each.segments_a,
            segments_now=each.segments_b,
            share_before=each.pixels_a / pixels,
            share_now=each.pixels_b / pixels,
            pq=each.pq,
        )
        for each in found.classes
    )
    page = extra.Comparison(
        title=f"Against job {found.job_a}",
        numbers=numbers,
        classes=tuple(classes),
        differing=tuple(_change(number, each) for number, each in _numbered(folder, found.most_changed, results)),
        notes=(compared(found), *about_comparison(found)),
    )
    with writing_to(folder):
        extra.write_comparison(folder, page)


def _change(number: int, image: ImageChange) -> extra.ImageScore:
    note = _by_label(gone=image.only_in_a, new=image.only_in_b)
    return extra.ImageScore(image=number, pq=image.pq, note=note)


def _by_label(**kinds: Mapping[str, int]) -> str:
    """`missed: 2 cats; false: 1 dog`, of the kinds that there are."""
    return "; ".join(f"{kind}: {counts(numbers)}" for kind, numbers in kinds.items() if numbers)
