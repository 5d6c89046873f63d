"""The account of a job: commit shards, close the job, rebuild the ledger from the bucket.

The report comes first and only the first one of a round counts (`If-None-Match`); metadata and ledger are projections
of it, so whoever finds a decided shard can finish its paperwork, any number of times, with the same result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from maskmill.errors import AccountMismatch, ObjectNotFound, StoreUnavailable
from maskmill.ledger.answers import Progress
from maskmill.ledger.ledger import Booking
from maskmill.schema import (
    Cancellation,
    JobRecord,
    JobState,
    Manifest,
    Outcome,
    Record,
    Reference,
    RetryRound,
    ShardReport,
    Status,
    utc_now,
)
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.store import Store

Found = TypeVar("Found", bound=Record)

JSON_LINES = "application/x-ndjson"


def read_job(store: Store, job: str) -> JobRecord:
    """The job's record; raises `ObjectNotFound` when the prefix has no such job."""
    return JobRecord.from_json(store.get(keys.job_record(job)))


def read_references(store: Store, job: str, shard: int) -> list[Reference]:
    """The shard's references, in order."""
    return [Reference.from_json(line) for line in store.get(keys.shard(job, shard)).splitlines()]


def read_report(store: Store, job: str, shard: int, round: int = 0) -> ShardReport | None:  # noqa: A002
    """The shard's outcomes as decided in this round, or None while there are none."""
    return _read(store, keys.report(job, shard, round), ShardReport)


def read_latest_report(store: Store, job: str, shard: int, round: int) -> ShardReport | None:  # noqa: A002
    """The shard's outcomes as decided in this round or, before that, in the last one that concerned it."""
    found = (read_report(store, job, shard, each) for each in range(round, -1, -1))
    return next(filter(None, found), None)


def read_metadata(store: Store, job: str, shard: int) -> Iterator[Outcome]:
    """The shard's images that have a mask; nothing while the shard is not booked."""
    try:
        lines = store.get(keys.metadata(job, shard))
    except ObjectNotFound:
        return
    yield from map(Outcome.from_json, lines.splitlines())


def read_retry(store: Store, job: str, round: int) -> RetryRound:  # noqa: A002
    """What is tried again in this round."""
    return RetryRound.from_json(store.get(keys.retry(job, round)))


def current_round(store: Store, job: str) -> int:
    """The number of the last `retry`, 0 before the first."""
    return max((keys.shard_index(item.key) for item in store.list(keys.retries(job))), default=0)


def read_cancellation(store: Store, job: str) -> Cancellation | None:
    """The word that the job is cancelled, or None."""
    return _read(store, keys.cancellation(job), Cancellation)


def read_manifest(store: Store, job: str) -> Manifest | None:
    """The job's closing account, or None while it is open."""
    return _read(store, keys.manifest(job), Manifest)


def _read(store: Store, key: str, kind: type[Found]) -> Found | None:
    try:
        return kind.from_json(store.get(key))
    except ObjectNotFound:
        return None


def commit_shard(services: Services, out: str, report: ShardReport) -> Booking:
    """Decide the shard and book it; the report that counts may be another worker's."""
    store = services.store(out)
    if not store.put_if_absent(keys.report(report.job, report.shard, report.round), report.to_json()):
        decided = read_report(store, report.job, report.shard, report.round)
        if decided is None:
            raise StoreUnavailable(f"shard {report.shard} of job {report.job}: its report is there, but cannot be read")
        report = decided
    return book_shard(services, store, report, report.round)


def book_shard(services: Services, store: Store, report: ShardReport, round: int) -> Booking:  # noqa: A002
    """Metadata and ledger from a decided report. Idempotent."""
    lines = b"".join(outcome.to_json() + b"\n" for outcome in report.outcomes if _has_mask(outcome))
    store.put(keys.metadata(report.job, report.shard), lines, JSON_LINES)
    failures = Counter(o.code or "error" for o in report.outcomes if o.status is Status.FAILED)
    return services.ledger.commit(report.job, report.shard, report.counts(), dict(failures), round=round)


def _has_mask(outcome: Outcome) -> bool:
    return outcome.status in (Status.STORED, Status.REUSED)


def close_job(services: Services, job: str) -> Manifest:
    """Write the manifest once all shards are booked. Idempotent; the first manifest counts."""
    progress = services.ledger.progress(job)
    store = services.store(progress.out)
    manifest = _manifest(read_job(store, job), progress, read_cancellation(store, job))
    if not store.put_if_absent(keys.manifest(job), manifest.to_json()):
        manifest = read_manifest(store, job) or manifest
    services.ledger.close(job)
    return manifest


def _manifest(record: JobRecord, progress: Progress, cancellation: Cancellation | None) -> Manifest:
    if progress.counts.total != record.images or not progress.finished:
        raise AccountMismatch(f"job {record.job}: {progress.counts} do not add up to {record.images} images")
    state = final_state(progress)
    return Manifest(
        job=record.job,
        state=state,
        submitted=record.images,
        counts=progress.counts,
        failures=progress.failures,
        spec=record.spec,
        fingerprint=record.spec.fingerprint(),
        created=record.created,
        finished=utc_now(),
        reason=cancellation.reason if cancellation and state is JobState.CANCELLED else None,
    )


def final_state(progress: Progress) -> JobState:
    """The state of a job that is finished."""
    if progress.counts.cancelled or progress.cancelled:
        return JobState.CANCELLED
    return JobState.COMPLETED_WITH_FAILURES if progress.counts.failed else JobState.COMPLETED


def enter_job(services: Services, out: str, job: str) -> JobRecord:
    """Put a job of the bucket into the ledger with what is already decided: after submission, after any restart."""
    store = services.store(out)
    record = read_job(store, job)
    round_now = current_round(store, job)
    services.ledger.create(
        job,
        out,
        images=record.images,
        shards=record.shards,
        created_seconds=record.created.timestamp(),
        priority=record.execution.priority or 0,
        max_failures=record.execution.allowed_failures(record.images) if not round_now else None,
        round=round_now,
    )
    if read_cancellation(store, job):
        services.ledger.cancel(job)
    decided = sorted({keys.shard_index(item.key) for item in store.list(keys.reports(job))})
    booked = services.ledger.done(job, decided)
    missing = [shard for shard, done in zip(decided, booked, strict=True) if not done]
    retried = read_retry(store, job, round_now) if round_now else None
    with ThreadPoolExecutor(services.settings.upload_threads) as pool:
        list(pool.map(lambda shard: _book_decided(services, store, job, shard, retried), missing))
    return record


def _book_decided(services: Services, store: Store, job: str, shard: int, retried: RetryRound | None) -> None:
    round_now = retried.round if retried else 0
    report = read_latest_report(store, job, shard, round_now)
    if report is None:
        return
    if retried and report.round < round_now and any(map(retried.concerns, report.outcomes)):
        return
    book_shard(services, store, report, round_now)
