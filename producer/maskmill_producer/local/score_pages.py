"""Scores and comparisons as pages of a report that is there: `maskmill score … --report DIR`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from maskmill.errors import UsageError
from maskmill.machine import writing_to
from maskmill.scoring.scores import Comparison, ImageChange, ImageScore, Scores
from maskmill_producer.local.score_words import about_comparison, about_scores, compared, counts, scored
from maskmill_producer.report.page import extra
from maskmill_producer.report.page.folder import MARK


def check_report(folder: Path, job: str) -> None:
    """Raise `UsageError` unless a report of this job is in the folder: before there is work."""
    try:
        found = json.loads((folder / MARK).read_bytes())
        of_job = found["job"] if found["complete"] else None
    except (OSError, ValueError, KeyError, TypeError):
        of_job = None
    if of_job != job:
        raise UsageError(f"{folder} holds no report of job {job}: write it with `maskmill report {job} --out {folder}`")


def add_score(folder: Path, scores: Scores) -> None:
    """Show the scores in the report; raises `UsageError` where it cannot be written."""
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
        worst=tuple(_worst(each) for each in scores.worst if each.number is not None),
        notes=(scored(scores), *about_scores(scores)),
    )
    with writing_to(folder):
        extra.write_score(folder, page)


def _worst(image: ImageScore) -> extra.ImageScore:
    note = image.without_mask or _by_label(missed=image.missed, false=image.false)
    return extra.ImageScore(image=image.number or 0, pq=image.pq, note=note)


def add_comparison(folder: Path, found: Comparison) -> None:
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
        differing=tuple(map(_change, found.most_changed)),
        notes=(compared(found), *about_comparison(found)),
    )
    with writing_to(folder):
        extra.write_comparison(folder, page)


def _change(image: ImageChange) -> extra.ImageScore:
    note = _by_label(gone=image.only_in_a, new=image.only_in_b)
    return extra.ImageScore(image=image.number, pq=image.pq, note=note)


def _by_label(**kinds: Mapping[str, int]) -> str:
    """`missed: 2 cats; false: 1 dog`, of the kinds that there are."""
    return "; ".join(f"{kind}: {counts(numbers)}" for kind, numbers in kinds.items() if numbers)
