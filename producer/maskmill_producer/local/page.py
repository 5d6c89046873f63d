"""The report of a job: `report/index.html`, from the job in its store, or from a folder of results without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from maskmill.dataset.source import StoredJob
from maskmill.errors import UsageError
from maskmill.job import READERS, Job
from maskmill.jobs.account import read_references
from maskmill.locks import held_lock
from maskmill.masks.segment_map import decode
from maskmill.masks.stored import check_mask_of
from maskmill.schema import Outcome
from maskmill.settings import load_settings
from maskmill.storage.ahead import map_ahead
from maskmill_producer.local.folder_source import FolderSource
from maskmill_producer.local.pictures import Mask, Pictures
from maskmill_producer.report.page.report import GALLERY, OnProgress, Written, write_report
from maskmill_producer.report.page.source import Part, Source, StoredMask

REPORT = "report"


class OfJob:
    """A job that has ended, in its store. `out` is the folder of a run, whose results are copied there."""

    def __init__(self, job: Job, out: Path | None = None) -> None:
        self._job = StoredJob.of(job.services.settings, job.store, job.id)
        self.record, self.manifest = self._job.record, self._job.manifest
        self.command = ("run", str(out)) if out else ("submit", job.out)
        self._pictures = Pictures(job.services.settings, self.record)
        self.name_of = self._pictures.name_of

    def parts(self) -> Iterator[Part]:
        """Shard by shard, each with its references and its report."""
        return map_ahead(self._part, range(self._job.shards), READERS)

    def _part(self, shard: int) -> Part:
        report = self._job.report(shard)
        outcomes = report.outcomes if report else self._job.outcomes(shard)
        return Part(outcomes, read_references(self._job.store, self.record.job, shard), report)

    def mask(self, outcome: Outcome) -> StoredMask:
        """From the store."""
        return _checked(self._job.mask(outcome.mask_key or ""), outcome)

    def image(self, outcome: Outcome, mask: StoredMask) -> Image.Image:
        """From where the job's workers had it."""
        return self._pictures.read(outcome.uri, Mask(*mask))


class OfFolder:
    """A folder that `maskmill run` or `results --download` has written: no throughput, no cancelled images."""

    def __init__(self, path: Path) -> None:
        self._results = FolderSource.open(load_settings(), path)
        self.record, self.manifest = self._results.record, self._results.manifest
        self.command = ("run", str(path))
        self._pictures = Pictures(self._results.settings, self.record)
        self.name_of = self._pictures.name_of

    def parts(self) -> Iterator[Part]:
        """The images that have a mask, then those that failed."""
        return (Part(self._results.outcomes(shard)) for shard in range(self._results.shards))

    def mask(self, outcome: Outcome) -> StoredMask:
        """From the folder."""
        return _checked(self._results.mask(outcome.mask_key or ""), outcome)

    def image(self, outcome: Outcome, mask: StoredMask) -> Image.Image:
        """From where the job's workers had it, as far as it can be reached from here without a password."""
        return self._pictures.read(outcome.uri, Mask(*mask))


def report_of(
    source: Source, path: Path, gallery: int | None = GALLERY, on_progress: OnProgress = lambda *_: None
) -> Written:
    """Write a report while nobody else does: `report_of(OfFolder(Path("masks")), Path("masks/report"))`.

    Raises `UsageError` where the folder holds other files or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with held_lock(path, f"another maskmill is writing to {path}: wait for it, or name another folder"):
            return write_report(source, path, gallery, on_progress)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error


def _checked(png: bytes, outcome: Outcome) -> StoredMask:
    ids, header = decode(png)
    check_mask_of(header, outcome)
    return ids, header
