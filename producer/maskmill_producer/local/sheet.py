"""The contact sheet of a job: some of its images, some of its failures, and how many of how many that is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from maskmill.errors import MaskmillError
from maskmill.job import Job
from maskmill.masks.segment_map import decode
from maskmill.result import Result
from maskmill.schema import JobStatus, Outcome
from maskmill.storage.ahead import map_ahead
from maskmill.words import counted
from maskmill_producer.local.folder import Folder
from maskmill_producer.local.pictures import Pictures
from maskmill_producer.report.contact_sheet import Failed, Panel, write_contact_sheet

IMAGES, FAILURES = 24, 6
THREADS = 2
SHEET = "contact-sheet.png"


def draw_sheet(job: Job, path: Path) -> Path | None:
    """Write the contact sheet of the job whose results are in a folder; None if it has nothing to show.

    An image that cannot be read again, or whose mask is not there, is left out, and not counted as shown.
    """
    status, pictures = job.status(), Pictures.of(job)
    folder = Folder.at(path)
    found = map_ahead(lambda result: _panel(folder, pictures, result), _first(job), THREADS)
    panels = [panel for panel in found if panel]
    failed = [_failed(pictures, outcome) for outcome in islice(job.failures(), FAILURES)]
    titles = (shown_of(status, len(panels), len(failed)), f"{job.id} · {job.record().spec.model}")
    sheet = path / SHEET
    return sheet if write_contact_sheet(sheet, [*panels, *failed], titles) else None


def shown_of(status: JobStatus, images: int, failures: int) -> str:
    """What a sheet shows: `24 of 180 images with masks · 3 of 3 failures`."""
    masks = status.counts.stored + status.counts.reused
    texts = [f"{images:,} of {counted(masks, 'image with a mask', 'images with masks')}"]
    if status.counts.failed:
        texts.append(f"{failures:,} of {counted(status.counts.failed, 'failure')}")
    return " · ".join(texts)


def _first(job: Job) -> Iterator[Result]:
    return islice(job.results(reveal=True), IMAGES)


def _panel(folder: Folder, pictures: Pictures, result: Result) -> Panel | None:
    try:
        mask = decode(folder.path_of(result.mask_key).read_bytes())
        image = pictures.read(result.uri, mask)
    except (MaskmillError, OSError):
        return None
    return Panel.of(pictures.name_of(result.uri), image, mask.ids, mask.header.segments)


def _failed(pictures: Pictures, outcome: Outcome) -> Failed:
    return Failed(pictures.name_of(outcome.uri), outcome.code or "error", outcome.reason or "")
