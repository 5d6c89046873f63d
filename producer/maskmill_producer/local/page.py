"""What a report is made of: a job in its store, or a folder of results without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from maskmill.dataset.source import StoredJob
from maskmill.job import READERS, Job
from maskmill.jobs.records import read_references
from maskmill.masks.segment_map import Mask
from maskmill.masks.stored import read_mask
from maskmill.schema import Outcome
from maskmill.settings import load_settings
from maskmill.storage.ahead import map_ahead
from maskmill_producer.local.folder_source import FolderSource
from maskmill_producer.local.pictures import Pictures
from maskmill_producer.report.page.source import Part

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

    def mask(self, outcome: Outcome) -> Mask:
        """From the store."""
        return read_mask(self._job.mask(outcome.mask_key or ""), outcome)

    def image(self, outcome: Outcome, mask: Mask) -> Image.Image:
        """From where the job's workers had it."""
        return self._pictures.read(outcome.uri, mask)


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

    def mask(self, outcome: Outcome) -> Mask:
        """From the folder."""
        return read_mask(self._results.mask(outcome.mask_key or ""), outcome)

    def image(self, outcome: Outcome, mask: Mask) -> Image.Image:
        """From where the job's workers had it, as far as it can be reached from here without a password."""
        return self._pictures.read(outcome.uri, mask)
