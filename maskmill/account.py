"""The account of a job: commit shards, close the job, rebuild the ledger from the bucket.

The report comes first and only the first one counts (`If-None-Match`); metadata and ledger are projections of it, so
whoever finds a decided shard can finish its paperwork, any number of times, with the same result.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from maskmill import keys
from maskmill.errors import AccountMismatch, ObjectNotFound, StoreUnavailable
from maskmill.ledger import Progress
from maskmill.schema import JobRecord, JobState, Manifest, Outcome, ShardReport, Status, utc_now
from maskmill.services import Services
from maskmill.store import Store

JSON_LINES = "application/x-ndjson"


def read_job(store: Store, job: str) -> JobRecord:
    """The job's record; raises `ObjectNotFound` when the prefix has no such job."""
    return JobRecord.from_json(store.get(keys.job_record(job)))


def read_report(store: Store, job: str, shard: int) -> ShardReport | None:
    """The shard's decided outcomes, or None while there are none."""
    try:
        return ShardReport.from_json(store.get(keys.report(job, shard)))
    except ObjectNotFound:
        return None


def read_manifest(store: Store, job: str) -> Manifest | None:
    """The job's closing account, or None while it is open."""
    try:
        return Manifest.from_json(store.get(keys.manifest(job)))
    except ObjectNotFound:
        return None


def commit_shard(services: Services, out: str, report: ShardReport) -> ShardReport:
    """Decide the shard and book it; returns the report that counts, which may be another worker's."""
    store = services.store(out)
    if not store.put_if_absent(keys.report(report.job, report.shard), report.to_json()):
        decided = read_report(store, report.job, report.shard)
        if decided is None:
            raise StoreUnavailable(f"shard {report.shard} of job {report.job}: its report is there, but cannot be read")
        report = decided
    book_shard(services, store, report)
    return report


def book_shard(services: Services, store: Store, report: ShardReport) -> None:
    """Metadata and ledger from a decided report. Idempotent."""
    lines = b"".join(outcome.to_json() + b"\n" for outcome in report.outcomes if _has_mask(outcome))
    store.put(keys.metadata(report.job, report.shard), lines, JSON_LINES)
    failures = Counter(o.code or "error" for o in report.outcomes if o.status is Status.FAILED)
    services.ledger.commit(report.job, report.shard, report.counts(), dict(failures))


def _has_mask(outcome: Outcome) -> bool:
    return outcome.status in (Status.STORED, Status.REUSED)


def close_job(services: Services, job: str) -> Manifest:
    """Write the manifest once all shards are booked. Idempotent; the first manifest counts."""
    progress = services.ledger.progress(job)
    store = services.store(progress.out)
    manifest = _manifest(read_job(store, job), progress)
    if not store.put_if_absent(keys.manifest(job), manifest.to_json()):
        manifest = read_manifest(store, job) or manifest
    services.ledger.close(job)
    return manifest


def _manifest(record: JobRecord, progress: Progress) -> Manifest:
    if progress.counts.total != record.images:
        raise AccountMismatch(f"job {record.job}: {progress.counts} do not add up to {record.images} images")
    return Manifest(
        job=record.job,
        state=final_state(progress),
        submitted=record.images,
        counts=progress.counts,
        failures=progress.failures,
        spec=record.spec,
        fingerprint=record.spec.fingerprint(),
        created=record.created,
        finished=utc_now(),
    )


def final_state(progress: Progress) -> JobState:
    """The state of a job whose shards are all booked."""
    if progress.counts.cancelled:
        return JobState.CANCELLED
    return JobState.COMPLETED_WITH_FAILURES if progress.counts.failed else JobState.COMPLETED


def enter_job(services: Services, out: str, job: str) -> JobRecord:
    """Put a job of the bucket into the ledger with what is already decided: after submission, after any restart."""
    store = services.store(out)
    record = read_job(store, job)
    services.ledger.create(
        job, out, images=record.images, shards=record.shards, created_seconds=record.created.timestamp()
    )
    decided = [keys.shard_index(item.key) for item in store.list(keys.reports(job))]
    booked = services.ledger.done(job, decided)
    missing = [shard for shard, done in zip(decided, booked, strict=True) if not done]
    with ThreadPoolExecutor(services.settings.upload_threads) as pool:
        list(pool.map(lambda shard: _book_decided(services, store, job, shard), missing))
    return record


def _book_decided(services: Services, store: Store, job: str, shard: int) -> None:
    report = read_report(store, job, shard)
    if report is not None:
        book_shard(services, store, report)
