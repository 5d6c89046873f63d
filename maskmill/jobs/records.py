"""What a job's objects in its bucket say, read and checked; what the first worker has decided counts.

No broker is asked, so results are read without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from maskmill.errors import InvalidRecord, ObjectNotFound
from maskmill.schema import (
    Cancellation,
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
    Status,
)
from maskmill.storage import keys
from maskmill.storage.store import Store

Found = TypeVar("Found", bound=Record)


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


def given_up(store: Store, job: str, shard: int, retry_round: int, references: list[Reference]) -> list[Outcome]:
    """What the shard's images are if nothing more is done: what they were before the retry, or cancelled."""
    before = read_latest_report(store, job, shard, retry_round - 1) if retry_round else None
    if before:
        return list(before.outcomes)
    return [Outcome(uri=reference.uri, status=Status.CANCELLED) for reference in references]


def _read(store: Store, key: str, kind: type[Found]) -> Found | None:
    try:
        return kind.from_json(store.get(key))
    except ObjectNotFound:
        return None
