"""The account of a job: shards are committed and booked, the job is closed, the ledger rebuilt from the bucket.

To *commit* a shard is to put its report: the first one of a retry round counts (`If-None-Match`). To *book* it is to
let metadata and ledger follow. Whoever finds a committed shard can book it, any number of times, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, TypeVar

from maskmill.errors import AccountMismatch, InvalidRecord, ObjectNotFound, StoreUnavailable, UsageError
from maskmill.events import JobEnded
from maskmill.ledger.answers import Booking, Progress
from maskmill.ledger.bitmap import is_done, of_shards
from maskmill.schema import (
    ByCode,
    Cancellation,
    Counts,
    JobRecord,
    JobState,
    Manifest,
    ModelClasses,
    ModelIdentity,
    Outcome,
    Record,
    Reference,
    RetryRound,
    ShardReport,
    utc_now,
)
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

Found = TypeVar("Found", bound=Record)

JSON_LINES = "application/x-ndjson"


def read_job(store: Store, job: str) -> JobRecord:
    """The job's record; raises `ObjectNotFound` when the prefix has no such job."""
    record = JobRecord.from_json(store.get(keys.job_record(job)))
    if record.job != job:
        raise InvalidRecord(f"{keys.job_record(job)} is the record of another job", record.to_json().decode())
    return record


def read_model(store: Store, job: str) -> ModelIdentity | None:
    """Which files the job's model is made of; None until a worker has loaded it."""
    return _read(store, keys.model(job), ModelIdentity)


def decide_model(store: Store, job: str, model: ModelIdentity) -> ModelIdentity:
    """Which files the job's model is made of: what the first worker has loaded counts."""
    if store.put_if_absent(keys.model(job), model.to_json(), "application/json"):
        return model
    return read_model(store, job) or model


def put_classes(store: Store, job: str, classes: ModelClasses) -> None:
    """Note the names of the job's labels, unless another worker has."""
    store.put_if_absent(keys.classes(job), classes.to_json(), "application/json")


def read_classes(store: Store, job: str) -> ModelClasses | None:
    """The names of the job's labels; None until a worker has loaded its model, and for jobs of earlier versions."""
    return _read(store, keys.classes(job), ModelClasses)


def read_references(store: Store, job: str, shard: int) -> list[Reference]:
    """The shard's references, in order."""
    return [Reference.from_json(line) for line in store.get(keys.shard(job, shard)).splitlines()]


def read_report(store: Store, job: str, shard: int, retry_round: int = 0) -> ShardReport | None:
    """The shard's outcomes as decided in this retry round, or None while there are none."""
    key = keys.report(job, shard, retry_round)
    report = _read(store, key, ShardReport)
    if report and (report.job, report.shard, report.round) != (job, shard, retry_round):
        raise InvalidRecord(f"{key} is the report of another shard, job or round", report.to_json().decode())
    return report


def read_latest_report(store: Store, job: str, shard: int, retry_round: int) -> ShardReport | None:
    """The shard's outcomes as decided in this retry round or, before that, in the last one that concerned it."""
    found = (read_report(store, job, shard, each) for each in range(retry_round, -1, -1))
    return next(filter(None, found), None)


def read_metadata(store: Store, job: str, shard: int, retry_round: int = 0) -> Iterator[Outcome]:
    """The shard's images that have a mask by this retry round, each once."""
    for each in range(retry_round + 1):
        try:
            lines = store.get(keys.metadata(job, shard, each)).splitlines()
        except ObjectNotFound:
            continue
        yield from map(Outcome.from_json, lines)


def read_retry(store: Store, job: str, retry_round: int) -> RetryRound:
    """What is tried again in this retry round."""
    return RetryRound.from_json(store.get(keys.retry(job, retry_round)))


def current_round(store: Store, job: str) -> int:
    """The number of the last `retry`, 0 before the first."""
    return max((keys.shard_index(item.key) for item in store.list(keys.retries(job))), default=0)


def read_cancellation(store: Store, job: str, retry_round: int) -> Cancellation | None:
    """The marker that the job is cancelled; None without one, and where the job had ended before it came."""
    marker = _read(store, keys.cancellation(job, retry_round), Cancellation)
    manifest = read_manifest(store, job, retry_round) if marker else None
    return marker if manifest is None or manifest.state is JobState.CANCELLED else None


def read_manifest(store: Store, job: str, retry_round: int | None = None) -> Manifest | None:
    """The account that closed this retry round (None: the last one), or None while it is open."""
    last = current_round(store, job) if retry_round is None else retry_round
    return _read(store, keys.manifest(job, last), Manifest)


def _read(store: Store, key: str, kind: type[Found]) -> Found | None:
    try:
        return kind.from_json(store.get(key))
    except ObjectNotFound:
        return None


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
