"""Maskmill from Python: submit a job, wait for it, read its results.

from maskmill import Client

job = Client().submit("photos/", out="s3://bucket/labels", model="facebook/detr-resnet-50-panoptic")
job.wait()
for result in job.results():
    print(result.uri, [segment.label for segment in result.segments])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from os import PathLike, fspath
from typing import TextIO, TypeAlias, Unpack

from maskmill import parameters
from maskmill.errors import JobNotFound, NewerRecord
from maskmill.images.in_memory import ImageInMemory
from maskmill.job import Job, status_of
from maskmill.jobs import lifecycle
from maskmill.jobs.lifecycle import Deleted, Pruned
from maskmill.jobs.records import read_job, read_manifest
from maskmill.jobs.submit import submit
from maskmill.ledger.answers import Progress
from maskmill.logs import warn_only_by_default
from maskmill.parameters import PipelineParameters
from maskmill.schema import JobRecord, JobStatus
from maskmill.services import Services
from maskmill.settings import Settings, load_settings
from maskmill.storage import keys

Source: TypeAlias = str | PathLike[str] | ImageInMemory
"""A file, folder, glob or list file as text or `Path`, an address, or an image."""


class Client:
    """The producer's side. Settings come from `MASKMILL_*` and `AWS_*` unless given.

    `Client().submit("photos/", model="demo").wait()`
    """

    def __init__(self, settings: Settings | None = None) -> None:
        warn_only_by_default()
        self.services = Services.connect(settings or load_settings())

    @property
    def settings(self) -> Settings:
        """The settings that this client was made with."""
        return self.services.settings

    def submit(
        self,
        sources: Source | Iterable[Source],
        *,
        out: str | None = None,
        column: str | None = None,
        root: str | PathLike[str] | None = None,
        all_files: bool = False,
        strict: bool = False,
        stdin: TextIO | None = None,
        exclude: str | None = None,
        limit: int | None = None,
        repeats: bool = False,
        on_images: Callable[[int], None] | None = None,
        **pipeline_parameters: Unpack[PipelineParameters],
    ) -> Job:
        """Submit a job: files, folders, globs, `http(s)://`, `s3://…`, archives, list files, or images in memory.

        `Client().submit(Path("photos"), model="facebook/detr-resnet-50-panoptic", threshold=0.8)`
        `Client().submit(frame for frame in video)`

        Images in memory are PIL images, arrays and the bytes of files (docs/python.md); they go through the store, and
        are deleted with the job. An iterable is read once, and never held as a whole. Of a sequence of names each must
        be there; of any other iterable a wrong element costs itself alone, with code `unlisted`. `result.input` is the
        number of the element.
        `out` is `s3://bucket/prefix` (default: the settings'). `column` names the column of list files. Masks mirror
        local paths below `root` (default: the current directory). `all_files` takes files whatever their names, and
        `strict` refuses a job of which anything is left out (`job.record().left_out`). Images below the local folder
        `exclude` are left out. Only the first `limit` are taken. An image that comes twice is submitted once, unless
        `repeats`. The other parameters are those of the transformers pipeline and of `maskmill.schema.Execution`.
        Raises `SourceError`, `InvalidSpec`, `StoreUnavailable` or `BrokerUnavailable`.
        """
        spec, execution = parameters.parse(**pipeline_parameters)
        where = (out or self.settings.out).rstrip("/")
        record = submit(
            self.services,
            sources,
            out=where,
            spec=spec,
            execution=execution,
            column=column,
            root=str(fspath(root)) if root is not None else None,
            all_files=all_files,
            strict=strict,
            stdin=stdin,
            exclude=exclude,
            limit=limit,
            repeats=repeats,
            on_images=on_images,
        )
        return Job(record.job, where, self.services)

    def job(self, job: str, out: str | None = None) -> Job:
        """A job by its id; `out` is needed only when the ledger has forgotten it. Raises `JobNotFound`.

        No broker is asked for a job that is below `out`: its results are read without one.

        `Client().job("20261122-205301-9f86d081").status().counts.stored`
        """
        _check_id(job)
        below = Job(job, self._prefix(out), self.services)
        record = keys.job_record(job)
        if out is not None and below.store.exists(record):
            return below
        if where := self._out_of(job):
            return Job(job, where, self.services)
        if out is None and below.store.exists(record):
            return below
        raise JobNotFound(
            f"no job '{job}' in the ledger or below {below.out}: `maskmill status` lists the latest; else give its "
            "output prefix, or the folder of a `maskmill run`"
        )

    def jobs(self, newest: int = 50) -> list[Job]:
        """The latest jobs that the ledger knows, newest first.

        `[job.id for job in Client().jobs(newest=3)]`
        """
        return [Job(found.job, found.out, self.services) for found in self._latest(newest)]

    def statuses(self, newest: int = 50) -> list[JobStatus]:
        """Where the latest jobs stand, newest first; asks the ledger alone, in one go.

        `[status.state for status in Client().statuses()]`
        """
        return [status_of(progress) for progress in self._latest(newest)]

    def unfinished(self, out: str) -> Iterator[JobRecord]:
        """Records of the jobs below `out` that have no manifest yet, oldest first."""
        store = self.services.store(out)
        for job in store.folders("jobs/"):
            with suppress(NewerRecord):  # left to a newer Maskmill, as workers do
                if store.exists(keys.job_record(job)) and read_manifest(store, job) is None:
                    yield read_job(store, job)

    def delete(self, job: str, out: str | None = None, *, masks: bool = False) -> Deleted:
        """Remove a job that has ended from bucket and ledger, see `Job.delete`; goes on with a broken-off deletion.

        `Client().delete("20261122-205301-9f86d081", masks=True).masks`
        """
        _check_id(job)
        where = self._out_of(job) or self._prefix(out)
        return lifecycle.delete_job(self.services, where, job, masks=masks)

    def prune(
        self, older_than: timedelta, out: str | None = None, *, masks: bool = False, dry_run: bool = False
    ) -> Pruned:
        """Delete the jobs below `out` that ended longer ago than this, and what broken-off submissions left.

        `Client().prune(timedelta(days=30), masks=True, dry_run=True).jobs`
        """
        return lifecycle.prune(self.services, self._prefix(out), older_than, masks=masks, dry_run=dry_run)

    def _latest(self, newest: int) -> list[Progress]:
        ledger = self.services.ledger
        return [progress for progress in ledger.progress_of(ledger.jobs(newest)) if progress]

    def _prefix(self, out: str | None) -> str:
        return (out or self.settings.out).rstrip("/")

    def _out_of(self, job: str) -> str | None:
        """The job's prefix as the ledger knows it, None once that has forgotten."""
        try:
            return self.services.ledger.out(job)
        except JobNotFound:
            return None


def _check_id(job: str) -> None:
    if not keys.JOB_ID.fullmatch(job):
        raise JobNotFound(f"'{job}' is not a job id; `maskmill status` lists the jobs")
