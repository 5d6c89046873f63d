"""The flow of a report: every image is counted and gets its row, some get a picture, the page comes last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from maskmill.cores import usable_cores
from maskmill.dataset.in_processes import OnProgress
from maskmill.locks import held_lock
from maskmill.machine import writing_to
from maskmill.schema import PROBLEMS_KEPT, ImageProblem
from maskmill.storage.ahead import map_ahead
from maskmill_producer.report.page import facts, folder
from maskmill_producer.report.page.classes import Classes
from maskmill_producer.report.page.pictures import draw, sample
from maskmill_producer.report.page.scripts import write_script
from maskmill_producer.report.page.source import Numbered, Source
from maskmill_producer.report.page.table import SHOWN, UNREADABLE, Table
from maskmill_producer.report.page.times import Times

GALLERY = 120
"""Images with a picture, unless one asks for another number."""

THREADS = min(4, usable_cores())


@dataclass
class Written:
    """A report: its page, how many images it lists, and how many pictures have their image, or could not be had."""

    page: Path
    images: int = 0
    pictures: int = 0
    unreadable: int = 0
    problems: list[ImageProblem] = field(default_factory=list)
    """The first of those that could not be had, with the reason."""


def write_report(
    source: Source, path: Path, gallery: int | None = GALLERY, on_progress: OnProgress = lambda *_: None
) -> Written:
    """Write the report of a job that has ended into a folder; with `gallery` None each image gets a picture.

    `write_report(OfJob(job), Path("report")).page`

    `on_progress` hears how many images of how many are listed.
    Nobody else may write there meanwhile. Raises `UsageError` where the folder holds other files or cannot be written.
    """
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)
        with held_lock(path):
            return _write(source, path, gallery, on_progress)


def _write(source: Source, path: Path, gallery: int | None, on_progress: OnProgress) -> Written:
    folder.begin(path, source.record.job)
    table, classes, times = Table(path / folder.DATA), Classes(), Times()
    with_masks = _counted(source, table, classes, times, on_progress)
    masks = source.manifest.counts.stored + source.manifest.counts.reused
    chosen = with_masks if gallery is None else sample(with_masks, gallery, masks)
    written, pictures = Written(path / folder.PAGE), partial(draw, path / folder.PICTURES, source, Lock())
    for drawn in map_ahead(pictures, chosen, THREADS):
        table.set_picture(drawn.number, UNREADABLE if drawn.problem else SHOWN)
        written.pictures += not drawn.problem
        written.unreadable += bool(drawn.problem)
        if drawn.problem and len(written.problems) < PROBLEMS_KEPT:
            written.problems.append(ImageProblem.of(drawn.uri, drawn.problem))
    written.images = len(table)
    numbers = {"images": written.images, "pictures": written.pictures, "unreadable": written.unreadable}
    about = facts.for_page(source) | {"times": times.for_page(source.record.created), "gallery": numbers}
    write_script(path / folder.DATA / "index.js", "index", about | classes.for_page() | {"columns": table.for_page()})
    folder.finish(path, {"job": source.record.job, **numbers})
    return written


def _counted(
    source: Source, table: Table, classes: Classes, times: Times, on_progress: OnProgress
) -> Iterator[Numbered]:
    """Count every image and give it a row; those that have a mask are passed on, with their whole addresses."""
    for part in source.parts():
        if part.report:
            times.add_report(part.report)
        for place, outcome in enumerate(part.outcomes):
            times.add_image(outcome)
            numbers = classes.add(outcome) if outcome.has_mask else []
            number = table.add(source.name_of(outcome.uri), outcome, numbers)
            if outcome.has_mask:
                yield Numbered(number, part.whole(place))
        on_progress(len(table), source.manifest.submitted)
