"""The account of a job: shards are committed and booked, the job is closed, the ledger rebuilt from the bucket.

To *commit* a shard is to put its report: the first one of a retry round counts (`If-None-Match`). To *book* it is to
let metadata and ledger follow. Whoever finds a committed shard can book it, any number of times, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from maskmill.errors import AccountMismatch, StoreUnavailable, UsageError
from maskmill.events import JobEnded
from maskmill.jobs.records import (
    current_round,
    read_cancellation,
    read_job,
    read_latest_report,
    read_manifest,
    read_model,
    read_report,
    read_retry,
)
from maskmill.ledger.answers import Booking, Progress
from maskmill.ledger.bitmap import is_done, of_shards
from maskmill.schema import (
    ByCode,
    Cancellation,
    Counts,
    JobRecord,
    JobState,
    Manifest,
    ModelIdentity,
    ShardReport,
    utc_now,
)
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

JSON_LINES = "application/x-ndjson"


def commit_shard(services: Services, out: str, report: ShardReport, seconds: float = 0.0) -> Booking:
    """Decide the shard and book it; the report that counts may be another worker's.

    `seconds` is the worker time that the shard took.
    """
    store = services.store(out)
    if not store.put_if_absent(keys.report(report.job, report.shard, report.round), report.to_json()):
        decided = read_report(store, report.job, report.shard, report.round)
        if decided is None:
            raise StoreUnavailable(f"shard {report.shard} of job {report.job}: its report is there, but cannot be read")
        report = decided
    return book_shard(services, store, report, report.round, seconds)


def book_shard(
    services: Services, store: Store, report: ShardReport, retry_round: int, seconds: float = 0.0
) -> Booking:
    """Metadata and ledger from a decided report, in a retry round that it holds for. Idempotent."""
    write_metadata(store, report)
    found = report.counts(), report.failures(), report.warnings()
    return services.ledger.book(report.job, report.shard, *found, retry_round=retry_round, seconds=seconds)


def write_metadata(store: Store, report: ShardReport) -> None:
    """A line for each image that got its mask in this report's retry round; written once, as reports are."""
    before = read_latest_report(store, report.job, report.shard, report.round - 1) if report.round else None
    had_masks = [outcome.has_mask for outcome in before.outcomes] if before else [False] * len(report.outcomes)
    new = [each for each, had in zip(report.outcomes, had_masks, strict=True) if each.has_mask and not had]
    if new:
        lines = b"".join(outcome.to_json() + b"\n" for outcome in new)
        store.put_if_absent(keys.metadata(report.job, report.shard, report.round), lines, JSON_LINES)


def close_job(services: Services, job: str) -> Manifest:
    """Write the manifest once all shards are booked. Idempotent; the first manifest of a retry round counts."""
    progress = services.ledger.progress(job)
    store = services.store(progress.out)
    cancellation = read_cancellation(store, job, progress.retry_round)
    manifest = _manifest(read_job(store, job), read_model(store, job), progress, cancellation)
    first = store.put_if_absent(keys.manifest(job, progress.retry_round), manifest.to_json())
    if not first:
        manifest = read_manifest(store, job, progress.retry_round) or manifest
    services.ledger.close(job, progress.retry_round, services.settings.ended_job_seconds)
    if first:
        services.events.emit(_ended(manifest))
    return manifest


def _ended(manifest: Manifest) -> JobEnded:
    seconds = (manifest.finished - manifest.created).total_seconds()
    return JobEnded(manifest.job, manifest.state.value, manifest.counts.model_dump(), manifest.failures, seconds)


def _manifest(
    record: JobRecord, model: ModelIdentity | None, progress: Progress, cancellation: Cancellation | None
) -> Manifest:
    if progress.counts.total != record.images or not progress.finished:
        raise AccountMismatch(f"job {record.job}: {progress.counts} do not add up to {record.images} images")
    state = progress.final_state
    return Manifest(
        job=record.job,
        state=state,
        found=record.found,
        left_out=record.left_out,
        left_out_examples=record.left_out_examples,
        submitted=record.images,
        counts=progress.counts,
        failures=progress.failures,
        warnings=progress.warnings,
        examples=progress.examples,
        spec=record.spec,
        fingerprint=record.spec.fingerprint(model),
        model=model,
        created=record.created,
        finished=utc_now(),
        reason=cancellation.reason if cancellation and state is JobState.CANCELLED else None,
    )


def enter_new_job(services: Services, out: str, record: JobRecord) -> None:
    """Put a job that has just been submitted into the ledger."""
    services.ledger.create(record.job, out, **_facts(record, 0))


def enter_job(services: Services, out: str, job: str) -> JobRecord:
    """Put a job of the bucket into the ledger with what is already decided; `resume` and `retry` begin here.

    A ledger that has lost nothing is kept, and books what is decided and not yet booked. Any other, and that of an
    earlier retry round, is built anew beside the old one.
    """
    store = services.store(out)
    if store.exists(keys.deletion(job)):
        raise UsageError(f"job {job} is being deleted: `maskmill delete {job}` goes on with it")
    record, retry_round = read_job(store, job), current_round(store, job)
    cancelled = read_cancellation(store, job, retry_round) is not None
    found = services.ledger.inspect(job)
    if found and found.complete and found.retry_round == retry_round:
        for report in _decided(services, store, record, retry_round, skip=found.done):
            book_shard(services, store, report, retry_round)
    else:
        _rebuild(services, out, record, retry_round, cancelled=cancelled)
        if model := read_model(store, job):
            services.ledger.made_of(job, model.files)
    if cancelled:
        services.ledger.cancel(job)
    return record


def _rebuild(services: Services, out: str, record: JobRecord, retry_round: int, *, cancelled: bool) -> None:
    counts, failures, warnings = Counts(), ByCode(), ByCode()

    def shards_done() -> Iterator[int]:
        nonlocal counts
        for report in _decided(services, services.store(out), record, retry_round):
            write_metadata(services.store(out), report)
            counts += report.counts()
            _add(failures, report.failures())
            _add(warnings, report.warnings())
            yield report.shard

    done, facts = of_shards(shards_done()), _facts(record, retry_round) | {"cancelled": cancelled}
    services.ledger.rebuild(record.job, out, done=done, counts=counts, failures=failures, warnings=warnings, **facts)


def _add(total: ByCode, more: ByCode) -> None:
    for code, (number, example) in more.items():
        before, first = total.get(code, (0, example))
        total[code] = before + number, first


def _decided(
    services: Services, store: Store, record: JobRecord, retry_round: int, skip: bytes = b""
) -> Iterator[ShardReport]:
    """The reports that hold in this retry round, in order, without those of the shards in the bitmap `skip`."""
    retry = read_retry(store, record.job, retry_round) if retry_round else None
    listed = groupby(store.list(keys.reports(record.job)), lambda item: keys.shard_index(item.key))
    rounds = ((shard, max(keys.round_of(item.key) for item in items)) for shard, items in listed)
    wanted = ((shard, last) for shard, last in rounds if not is_done(skip, shard))

    def read(found: tuple[int, int]) -> ShardReport | None:
        report = read_latest_report(store, record.job, found[0], min(found[1], retry_round))
        # An earlier round's report holds unless this round tries one of its images again.
        open_again = report and retry and report.round < retry_round and any(map(retry.concerns, report.outcomes))
        return None if open_again else report

    yield from filter(None, map_ahead(read, wanted, services.settings.upload_threads))


def _facts(record: JobRecord, retry_round: int) -> dict[str, Any]:
    """What the ledger keeps of a job's record."""
    return {
        "model": record.spec.model_key(),
        "images": record.images,
        "shards": record.shards,
        "created_seconds": record.created.timestamp(),
        "priority": record.execution.priority or 0,
        "max_failures": record.execution.allowed_failures(record.images) if not retry_round else None,
        "retry_round": retry_round,
        "left_out": record.left_out,
    }
