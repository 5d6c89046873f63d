"""Maskmill from Python: submit a job, wait for it, read its results.

from maskmill.addresses import without_query
from maskmill import Client

job = Client().submit("photos/", out="s3://bucket/labels", model="facebook/detr-resnet-50-panoptic")
job.wait()
for result in job.results():
    print(result.uri, [segment.label for segment in result.segments])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

from maskmill import parameters
from maskmill.addresses import without_query
from maskmill.errors import (
    BrokerUnavailable,
    JobFailed,
    JobNotFound,
    MaskReplaced,
    ObjectNotFound,
    StoreUnavailable,
)
from maskmill.jobs.account import (
    close_job,
    current_round,
    final_state,
    read_job,
    read_latest_report,
    read_manifest,
    read_references,
)
from maskmill.jobs.cancel import cancel_job, given_up
from maskmill.jobs.reconcile import notify, reconcile_job
from maskmill.jobs.retry import retry_job
from maskmill.jobs.submit import start, submit
from maskmill.masks.segment_map import MaskHeader, SegmentMap, decode, pipeline_output
from maskmill.schema import JobRecord, JobState, JobStatus, Manifest, Outcome, Segment, Status
from maskmill.services import Services
from maskmill.settings import Settings, load_settings
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

RECONCILE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""How long a server may be away before a waiting client gives up."""

READERS = 4
"""Threads that read reports ahead of who looks at the outcomes."""


class Client:
    """The producer's side. Settings come from `MASKMILL_*` and `AWS_*` unless given."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.services = Services.connect(settings or load_settings())

    @property
    def settings(self) -> Settings:
        """The settings that this client was made with."""
        return self.services.settings

    def submit(
        self,
        sources: str | Sequence[str],
        *,
        out: str | None = None,
        column: str | None = None,
        stdin: TextIO | None = None,
        exclude: str | None = None,
        limit: int | None = None,
        on_images: Callable[[int], None] | None = None,
        **pipeline_parameters: Any,
    ) -> Job:
        """Submit a job: files, folders, globs, `http(s)://`, `s3://…`, list files (see `maskmill.images.sources`).

        `out` is `s3://bucket/prefix` (default: the settings'), `column` names the column of list files,
        images below the local folder `exclude` are left out, and only the first `limit` are taken;
        `pipeline_parameters` are those of the transformers pipeline: model, revision, image_processor, subtask,
        threshold, mask_threshold, overlap_mask_area_threshold, dtype, batch_size, num_workers, timeout,
        deterministic, and those of Maskmill's own, see `maskmill.schema.Execution`.
        Raises `SourceError`, `InvalidSpec`, `StoreUnavailable` or `BrokerUnavailable`.
        """
        spec, execution = parameters.parse(**pipeline_parameters)
        where = (out or self.settings.out).rstrip("/")
        record = submit(
            self.services,
            [sources] if isinstance(sources, str) else list(sources),
            out=where,
            spec=spec,
            execution=execution,
            column=column,
            stdin=stdin,
            exclude=exclude,
            limit=limit,
            on_images=on_images,
        )
        return Job(record.job, where, self.services)

    def job(self, job: str, out: str | None = None) -> Job:
        """A job by its id; `out` is needed only when the ledger has forgotten it. Raises `JobNotFound`."""
        if not keys.JOB_ID.fullmatch(job):
            raise JobNotFound(f"'{job}' is not a job id; `maskmill status` lists the jobs")
        try:
            return Job(job, self.services.ledger.out(job), self.services)
        except JobNotFound:
            found = Job(job, (out or self.settings.out).rstrip("/"), self.services)
            if not found.store.exists(keys.job_record(job)):
                raise JobNotFound(f"no job '{job}' in the ledger or below {found.out}; give its --out prefix") from None
            return found

    def jobs(self, newest: int = 50) -> list[Job]:
        """The latest jobs that the ledger knows, newest first."""
        ids = self.services.ledger.jobs(newest)
        return [Job(job, self.services.ledger.out(job), self.services) for job in ids]

    def unfinished(self, out: str) -> Iterator[JobRecord]:
        """Records of the jobs below `out` that have no manifest yet, oldest first."""
        store = self.services.store(out)
        for job in store.folders("jobs/"):
            if store.exists(keys.job_record(job)) and not store.exists(keys.manifest(job)):
                yield read_job(store, job)


@dataclass(frozen=True)
class Job:
    """A submitted job: its id and output prefix; all else is read when asked for."""

    id: str
    out: str
    services: Services

    @property
    def store(self) -> Store:
        """The store below the output prefix."""
        return self.services.store(self.out)

    def record(self) -> JobRecord:
        """What was submitted."""
        return read_job(self.store, self.id)

    def manifest(self) -> Manifest | None:
        """The closing account, or None while the job is open."""
        return read_manifest(self.store, self.id)

    def status(self) -> JobStatus:
        """Where the job stands: from the ledger, or from the bucket once the ledger has forgotten it."""
        try:
            progress = self.services.ledger.progress(self.id)
        except JobNotFound:
            return self._status_from_bucket()
        state = final_state(progress) if progress.finished else JobState.RUNNING
        manifest = self.manifest() if state is JobState.CANCELLED else None
        return JobStatus(
            job=self.id,
            out=self.out,
            state=state,
            reason=manifest.reason if manifest else None,
            submitted=progress.images,
            counts=progress.counts,
            failures=progress.failures,
            shards=progress.shards,
            shards_done=progress.shards_done,
            shards_claimed=progress.claimed,
            shards_queued=progress.waiting,
            examples=progress.examples,
            trouble=progress.trouble,
        )

    def resume(self) -> None:
        """Enter the job into the ledger again and announce what is left; harmless for a job that runs."""
        start(self.services, self.out, self.id)

    def cancel(self) -> None:
        """Stop the job within a batch; what is stored stays, the rest is accounted for as cancelled.

        Raises `UsageError` when it has ended.
        """
        cancel_job(self.services, self.id, self.out)
        reconcile_job(self.services, self.id)

    def retry(self, codes: Sequence[str] | None = None) -> int:
        """Queue the failed images of these codes (None: all) again, under this job; returns how many.

        Raises `UsageError` when the job still runs, was cancelled, or has no such failures.
        """
        return retry_job(self.services, self.out, self.id, codes)

    def wait(
        self,
        timeout: float | None = None,
        *,
        poll_seconds: float = 0.5,
        on_status: Callable[[JobStatus], None] | None = None,
    ) -> Manifest:
        """Wait until the job is closed and return its account; reconciles meanwhile (see `maskmill.jobs.reconcile`).

        Raises `TimeoutError` after `timeout` seconds (the job goes on), and `BrokerUnavailable` or `StoreUnavailable`
        once a server has been away for `PATIENCE_SECONDS`.
        """
        started = seen = time.monotonic()
        next_reconcile = 0.0
        while True:
            try:
                status = self.status()
                if on_status:
                    on_status(status)
                if status.finished:
                    return self.manifest() or close_job(self.services, self.id)
                if time.monotonic() >= next_reconcile:
                    reconcile_job(self.services, self.id)
                    notify(self.services)
                    next_reconcile = time.monotonic() + RECONCILE_SECONDS
                seen = time.monotonic()
            except (BrokerUnavailable, StoreUnavailable):
                if time.monotonic() > seen + PATIENCE_SECONDS:
                    raise
            if timeout is not None and time.monotonic() > started + timeout:
                raise TimeoutError(f"job {self.id} still runs after {timeout} s")
            time.sleep(poll_seconds)

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each image, in the order of submission; of a running job, what is decided so far."""
        store, manifest, last = self.store, self.manifest(), current_round(self.store, self.id)
        cancelled = manifest is not None and manifest.state is JobState.CANCELLED

        def of(shard: int) -> Sequence[Outcome]:
            report = read_latest_report(store, self.id, shard, last)
            if report is None and cancelled:
                return given_up(store, self.id, shard, 0, read_references(store, self.id, shard))
            return report.outcomes if report else ()

        for outcomes in map_ahead(of, range(self.record().shards), READERS):
            yield from outcomes

    def results(self) -> Iterator[Result]:
        """The images that have a mask, in the order of submission; masks are fetched when they are looked at."""
        for outcome in self.outcomes():
            if outcome.status in (Status.STORED, Status.REUSED):
                yield Result(outcome, self.store)

    def failures(self, codes: Sequence[str] | None = None) -> Iterator[Outcome]:
        """The images that failed (with one of these codes), each with its code and reason."""
        failed = (outcome for outcome in self.outcomes() if outcome.status is Status.FAILED)
        return (outcome for outcome in failed if codes is None or outcome.code in codes)

    def _status_from_bucket(self) -> JobStatus:
        record, manifest = self.record(), self.manifest()
        if manifest is None:
            raise JobFailed(f"the ledger has forgotten job {self.id}: `maskmill resume {self.id}` goes on")
        return JobStatus(
            job=self.id,
            out=self.out,
            state=manifest.state,
            submitted=manifest.submitted,
            counts=manifest.counts,
            failures=manifest.failures,
            reason=manifest.reason,
            shards=record.shards,
            shards_done=record.shards,
        )


@dataclass(frozen=True)
class Result:
    """One segmented image."""

    outcome: Outcome
    store: Store

    @property
    def uri(self) -> str:
        """Where the image is."""
        return self.outcome.uri

    @property
    def mask_key(self) -> str:
        """The mask's key below the job's output prefix."""
        if self.outcome.mask_key is None:
            raise ObjectNotFound(f"{self.uri} has no mask: {self.outcome.reason}")
        return self.outcome.mask_key

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, in the pipeline's order."""
        return self.outcome.segments or ()

    @cached_property
    def _mask(self) -> tuple[SegmentMap, MaskHeader]:
        ids, header = decode(self.store.get(self.mask_key))
        if (header.uri, header.fingerprint) != (without_query(self.uri), self.outcome.fingerprint):
            raise MaskReplaced(f"{self.mask_key} is another job's mask by now: give each tree and spec its own --out")
        return ids, header

    @property
    def segment_map(self) -> SegmentMap:
        """H × W, pixel = segment id, 0 = no segment; uint8 or uint16. Fetched once."""
        return self._mask[0]

    def as_pipeline_output(self) -> list[dict[str, Any]]:
        """What the stock pipeline returns for this image: a list of `score`, `label`, `mask` (PIL, mode L)."""
        return pipeline_output(self.segment_map, self.segments)
