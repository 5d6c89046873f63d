"""A job from Python: where it stands, what became of its images, and what can be done with it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from maskmill.errors import BrokerUnavailable, JobFailed, JobNotFound, StoreUnavailable, check_codes
from maskmill.jobs import lifecycle
from maskmill.jobs.account import (
    close_job,
    current_round,
    read_job,
    read_latest_report,
    read_manifest,
    read_metadata,
    read_references,
)
from maskmill.jobs.cancel import cancel_job, given_up
from maskmill.jobs.lifecycle import Deleted, shards_in
from maskmill.jobs.reconcile import reconcile, reconcile_job
from maskmill.jobs.retry import retry_job
from maskmill.jobs.reveal import reveal_metadata, reveal_report
from maskmill.jobs.submit import start
from maskmill.ledger.answers import Progress
from maskmill.result import Result
from maskmill.schema import JobRecord, JobState, JobStatus, Manifest, Outcome, Status
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

RECONCILE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""How long a server may be away before a waiting client gives up."""

READERS = 4
"""Threads that read reports ahead of who looks at the outcomes."""


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
        """What was submitted: `job.record().spec.model`."""
        return read_job(self.store, self.id)

    def manifest(self) -> Manifest | None:
        """The closing account, or None while the job is open: `job.manifest().counts.failed`."""
        return read_manifest(self.store, self.id)

    def status(self) -> JobStatus:
        """Where the job stands: from the ledger, or from the bucket once the ledger has forgotten it.

        `job.status().counts.total / job.status().submitted` is how much is done.
        """
        try:
            status = status_of(self.services.ledger.progress(self.id))
        except JobNotFound:
            return self._status_from_bucket()
        manifest = self.manifest() if status.state is JobState.CANCELLED else None
        return status.model_copy(update={"reason": manifest.reason}) if manifest else status

    def resume(self) -> None:
        """Enter the job into the ledger again and wake the workers; harmless for a job that runs.

        `Client().job("20261122-205301-9f86d081", out="s3://bucket/labels").resume()`
        """
        start(self.services, self.out, self.id)

    def cancel(self) -> None:
        """Stop the job within a batch; what is stored stays, the rest is accounted for as cancelled: `job.cancel()`.

        Raises `UsageError` when it has ended.
        """
        cancel_job(self.services, self.id, self.out)
        reconcile_job(self.services, self.id)

    def retry(self, codes: Sequence[str] | None = None) -> int:
        """Queue the failed images of these codes (None: all) again, under this job; returns how many.

        `job.retry(["timeout", "fetch_failed"])`

        Raises `UsageError` when the job still runs, was cancelled, or has no such failures.
        """
        return retry_job(self.services, self.out, self.id, codes)

    def delete(self, *, masks: bool = False) -> Deleted:
        """Remove the job's records from bucket and ledger, and with `masks` those that no other job accounts for.

        `job.delete(masks=True)`

        Raises `UsageError` while the job runs. Broken off at any point, it can be called again.
        """
        return lifecycle.delete_job(self.services, self.out, self.id, masks=masks)

    def wait(
        self,
        timeout: float | None = None,
        *,
        on_status: Callable[[JobStatus], None] | None = None,
    ) -> Manifest:
        """Wait until the job is closed and return its account; reconciles the job meanwhile.

        `job.wait(timeout=3600).counts`

        Raises `TimeoutError` after `timeout` seconds (the job goes on), `BrokerUnavailable` or `StoreUnavailable` once
        a server has been away for `PATIENCE_SECONDS`, and `BrokerRefused` at once.
        """
        started = seen = time.monotonic()
        watcher = f"watcher:{secrets.token_hex(4)}"
        next_look = 0.0
        while True:
            try:
                status = self.status()
                if on_status:
                    on_status(status)
                if status.finished:
                    return self.manifest() or close_job(self.services, self.id)
                if time.monotonic() >= next_look:
                    reconcile_job(self.services, self.id)
                    reconcile(self.services, watcher)
                    next_look = time.monotonic() + RECONCILE_SECONDS
                seen = time.monotonic()
            except (BrokerUnavailable, StoreUnavailable) as error:
                if not error.retryable or time.monotonic() > seen + PATIENCE_SECONDS:
                    raise
            if timeout is not None and time.monotonic() > started + timeout:
                raise TimeoutError(f"job {self.id} still runs after {timeout} s")
            time.sleep(until_next_look(time.monotonic() - started))

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each image, in the order of submission; of a running job, what is decided so far.

        `Counter(outcome.status for outcome in job.outcomes())`
        """
        store, manifest, last = self.store, self.manifest(), current_round(self.store, self.id)
        cancelled = manifest is not None and manifest.state is JobState.CANCELLED

        def of(shard: int) -> Sequence[Outcome]:
            report = read_latest_report(store, self.id, shard, last)
            if report is None and cancelled:
                return given_up(store, self.id, shard, 0, read_references(store, self.id, shard))
            return report.outcomes if report else ()

        for outcomes in map_ahead(of, range(self.record().shards), READERS):
            yield from outcomes

    def results(self, *, reveal: bool = False) -> Iterator[Result]:
        """The images that have a mask, shard by shard; masks are fetched when they are looked at.

        `for result in job.results(): print(result.uri, result.segment_map.shape)`

        With `reveal` they know their whole addresses: `result.uri.reveal()` has its password and signature.
        Reads the job's metadata as a stream: a few shards' lines are in memory at a time.
        """
        store, last = self.store, current_round(self.store, self.id)

        def of(shard: int) -> Iterator[Outcome]:
            found = read_metadata(store, self.id, shard, last)
            return _begun(reveal_metadata(store, self.id, shard, found) if reveal else found)

        for lines in map_ahead(of, self._booked(), READERS):
            yield from (Result(outcome, store) for outcome in lines)

    def failures(self, codes: Sequence[str] | None = None, *, reveal: bool = False) -> Iterator[Outcome]:
        """The images that failed (with one of these codes), each with its code and reason.

        `[failure.uri for failure in job.failures(["timeout"])]`

        With `reveal` they know their whole addresses: `failure.uri.reveal()` has its password and signature.
        Reads reports until the failures of a closed job are complete. Raises `UsageError` for a code that there is not.
        """
        store, manifest, last = self.store, self.manifest(), current_round(self.store, self.id)
        check_codes(codes or (), manifest.failures if manifest else ())

        def of(shard: int) -> Sequence[Outcome]:
            report = read_latest_report(store, self.id, shard, last)
            outcomes: Iterable[Outcome] = report.outcomes if report else ()
            if report and reveal:
                outcomes = reveal_report(store, self.id, shard, outcomes)
            failed = (each for each in outcomes if each.status is Status.FAILED)
            return [each for each in failed if codes is None or each.code in codes]

        found = chain.from_iterable(map_ahead(of, self._decided(), READERS))
        if manifest is None:
            return found
        return islice(found, sum(n for code, n in manifest.failures.items() if codes is None or code in codes))

    def _booked(self) -> Iterator[int]:
        return shards_in(self.store, f"{keys.job_folder(self.id)}metadata/")

    def _decided(self) -> Iterator[int]:
        return shards_in(self.store, keys.reports(self.id))

    def _status_from_bucket(self) -> JobStatus:
        record, manifest = self.record(), self.manifest()
        if manifest is None:
            raise JobFailed(f"the ledger has forgotten job {self.id}: `maskmill resume {self.id}` goes on")
        return JobStatus(
            job=self.id,
            out=self.out,
            state=manifest.state,
            found=manifest.found,
            left_out=manifest.left_out,
            submitted=manifest.submitted,
            counts=manifest.counts,
            failures=manifest.failures,
            warnings=manifest.warnings,
            examples=manifest.examples,
            reason=manifest.reason,
            files=manifest.model.files if manifest.model else None,
            shards=record.shards,
            shards_done=record.shards,
        )


def until_next_look(waited: float) -> float:
    """A hundredth of the seconds that were waited already, within bounds: no wait is much longer than its job."""
    return min(0.5, max(0.02, waited / 100))


def status_of(progress: Progress) -> JobStatus:
    """Where a job stands, from the ledger alone."""
    return JobStatus(
        job=progress.job,
        out=progress.out,
        state=progress.final_state if progress.finished else JobState.RUNNING,
        found=progress.images + sum(progress.left_out.values()),
        left_out=progress.left_out,
        submitted=progress.images,
        counts=progress.counts,
        failures=progress.failures,
        warnings=progress.warnings,
        examples=progress.examples,
        shards=progress.shards,
        shards_done=progress.shards_done,
        shards_claimed=progress.claimed,
        shards_queued=0 if progress.finished else progress.shards - progress.shards_done - progress.claimed,
        trouble=progress.trouble,
        files=progress.files,
    )


def _begun(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same, with the first one read: so a thread fetches the lines, and who wants them parses one by one."""
    return chain(list(islice(outcomes, 1)), outcomes)
