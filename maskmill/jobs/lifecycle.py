"""The end of a job's life: its records and masks are removed, and what broken-off submissions left.

The order makes every break harmless. The marker `deleting.json` comes first, then the ledger forgets the job, then
`job.json` goes: from there on nobody takes it for a job. Masks follow, while the records still name them. The
other records go next, the marker last. Whoever finds a marker goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

import structlog

from maskmill.errors import InvalidRecord, JobNotFound, NewerRecord, ObjectNotFound, UsageError
from maskmill.jobs.records import current_round, read_manifest, read_metadata, read_references
from maskmill.masks.segment_map import read_header
from maskmill.schema import Deletion, utc_now
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import DELETED_AT_ONCE, Store

log = structlog.get_logger(__name__)

KEYS_AT_ONCE = 100_000
"""Masks that are compared with the other jobs' in one go: about 30 MB."""

BROKEN_AFTER = timedelta(days=1)
"""A submission that has written nothing for so long has broken off."""

READERS = 4


@dataclass(frozen=True)
class Deleted:
    """What went with one job: records and their bytes, masks, and the masks that stay for other jobs."""

    job: str
    records: int = 0
    bytes: int = 0
    masks: int = 0
    masks_kept: int = 0


@dataclass(frozen=True)
class Pruned:
    """What `prune` deleted, or would: jobs that had ended, and remains of submissions and deletions."""

    jobs: tuple[Deleted, ...] = ()
    remains: tuple[Deleted, ...] = ()


def delete_job(services: Services, out: str, job: str, *, masks: bool = False) -> Deleted:
    """Remove a job that has ended, or what is left of one; with `masks` those that no other job accounts for.

    `delete_job(services, "s3://bucket/labels", "20261122-205301-9f86d081", masks=True).masks_kept`

    A job in the ledger whose record is gone from the bucket counts as ended. Raises `UsageError` while the job runs
    and `JobNotFound` when there is no such job below `out`.
    """
    store = services.store(out)
    marker = _read_marker(store, job)
    if marker is None:
        _check_ended(services, store, job)
        marker = Deletion(job=job, created=utc_now(), masks=masks)
        store.put(keys.deletion(job), marker.to_json(), "application/json")
    services.ledger.forget(job)
    own = _delete_records(store, keys.job_record(job))
    deleted, kept = _delete_masks(store, job) if masks or marker.masks else (0, 0)
    others = _delete_records(store, keys.job_folder(job), but=keys.deletion(job))
    store.delete(keys.deletion(job))
    return Deleted(job, own[0] + others[0], own[1] + others[1], deleted, kept)


def prune(
    services: Services,
    out: str,
    older_than: timedelta,
    *,
    masks: bool = False,
    dry_run: bool = False,
    keep: Set[str] = frozenset(),
) -> Pruned:
    """Delete the jobs below `out` that ended longer ago than this, oldest first, and what broken ones left.

    `prune(services, "s3://bucket/labels", timedelta(days=30), dry_run=True)` only says what would go. The jobs of
    `keep` stay, whatever their age.
    """
    store, jobs, remains = services.store(out), list[Deleted](), list[Deleted]()
    for job in filter(lambda each: each not in keep, _folders(store)):
        with _left_to_newer(job):
            whole = _is_whole(store, job)
            if not (_ended_before(store, job, utc_now() - older_than) if whole else _is_broken(store, job)):
                continue
            if dry_run:
                deleted = _would_delete(store, job, masks=masks and whole, gone={each.job for each in jobs})
            elif whole or _read_marker(store, job):
                deleted = delete_job(services, out, job, masks=masks and whole)
            else:
                services.ledger.forget(job)
                deleted = Deleted(job, *_delete_records(store, keys.job_folder(job)))
            (jobs if whole else remains).append(deleted)
    return Pruned(tuple(jobs), tuple(remains))


@contextmanager
def _left_to_newer(job: str) -> Iterator[None]:
    """What this Maskmill cannot read, it does not delete; the other jobs are no concern of it."""
    try:
        yield
    except NewerRecord as error:
        log.warning("job_not_pruned", job=job, reason=str(error))


def shards_in(store: Store, folder: str) -> Iterator[int]:
    """The shards that have an object in a folder of a job, each once.

    `000017.json`, `000017.r1.json`, `000018.json` are shards 17 and 18.
    """
    return (shard for shard, _ in groupby(keys.shard_index(item.key) for item in store.list(folder)))


def _folders(store: Store) -> list[str]:
    """Ids of all jobs below the prefix, whole or not, oldest first."""
    return sorted(name for name in store.folders("jobs/") if keys.JOB_ID.fullmatch(name))


def _read_marker(store: Store, job: str) -> Deletion | None:
    try:
        return Deletion.from_json(store.get(keys.deletion(job)))
    except ObjectNotFound:
        return None


def _check_ended(services: Services, store: Store, job: str) -> None:
    if not store.exists(keys.job_record(job)):
        if _is_in_ledger(services, store, job):  # its record went by another hand, so that it can never end
            return
        raise JobNotFound(
            f"no job '{job}' below {store.url}; give its output prefix (`maskmill prune` removes broken submissions)"
        )
    if read_manifest(store, job) is None:
        raise UsageError(f"job {job} has not ended: `maskmill cancel {job}` first")


def _is_in_ledger(services: Services, store: Store, job: str) -> bool:
    try:
        return services.ledger.out(job).rstrip("/") == store.url
    except JobNotFound:
        return False


def _is_whole(store: Store, job: str) -> bool:
    return store.exists(keys.job_record(job)) and not store.exists(keys.deletion(job))


def _ended_before(store: Store, job: str, time: datetime) -> bool:
    manifest = read_manifest(store, job)
    return manifest is not None and manifest.finished < time


def _is_broken(store: Store, job: str) -> bool:
    """Whether a deletion broke off, or a submission that has written nothing for a day."""
    if store.exists(keys.deletion(job)):
        return True
    last = max((item.modified for item in store.list(keys.job_folder(job))), default=None)
    return last is not None and last < utc_now() - BROKEN_AFTER  # some stores list a folder that is empty by now


def _would_delete(store: Store, job: str, *, masks: bool, gone: Set[str]) -> Deleted:
    sizes = [item.size for item in store.list(keys.job_folder(job))]
    batches = list(_free_masks(store, job, gone)) if masks else []
    return Deleted(job, len(sizes), sum(sizes), sum(len(free) for free, _ in batches), sum(kept for _, kept in batches))


def _delete_masks(store: Store, job: str) -> tuple[int, int]:
    """Delete the job's masks that no other job accounts for; returns how many went and how many stay."""
    deleted = kept = 0
    for free, others in _free_masks(store, job, frozenset()):
        deleted, kept = deleted + store.delete_all(free), kept + others
    return deleted, kept


def _delete_records(store: Store, prefix: str, but: str = "") -> tuple[int, int]:
    """Delete all below a prefix but one key; returns how many objects and bytes."""
    number = size = 0
    while batch := [item for item in islice(store.list(prefix), DELETED_AT_ONCE) if item.key != but]:
        number += store.delete_all(item.key for item in batch)
        size += sum(item.size for item in batch)
    return number, size


def _free_masks(store: Store, job: str, gone: Set[str]) -> Iterator[tuple[list[str], int]]:
    """A bounded number of the job's masks at a time: those that nobody else accounts for, and how many others.

    The job names a.png and b.png, another one of the same spec a.png, one of another spec b.png: a.png stays, and
    b.png is free if the mask that is there now is of the job's own spec.
    """
    mine = _accounted(store, job)
    while batch := dict(islice(mine, KEYS_AT_ONCE)):
        shared, contested = set[str](), set[str]()
        for other in _folders(store):
            if other != job and other not in gone and not store.exists(keys.deletion(other)):
                for key, fingerprint in _accounted(store, other):
                    if key in batch:
                        (contested if fingerprint and fingerprint != batch[key] else shared).add(key)
        shared |= _of_other_specs(store, {key: batch[key] for key in contested - shared})
        yield [key for key in batch if key not in shared], len(shared)


def _accounted(store: Store, job: str) -> Iterator[tuple[str, str | None]]:
    """The masks that a job accounts for, with the fingerprint of their spec.

    Of a job that has not ended: those of all its images, without one, since it may be about to keep them.
    """
    last = current_round(store, job)
    ended = read_manifest(store, job, last) is not None or store.exists(keys.deletion(job))
    folder = f"{keys.job_folder(job)}{'metadata' if ended else 'shards'}/"

    def of(shard: int) -> list[tuple[str, str | None]]:
        if ended:
            return [
                (each.mask_key, each.fingerprint) for each in read_metadata(store, job, shard, last) if each.mask_key
            ]
        return [(each.mask_key, None) for each in read_references(store, job, shard)]

    for found in map_ahead(of, shards_in(store, folder), READERS):
        yield from found


def _of_other_specs(store: Store, fingerprints: Mapping[str, str | None]) -> set[str]:
    """The keys under which there is no mask of this spec by now; what cannot be told belongs to somebody else."""

    def has_spec(key: str) -> bool:
        try:
            return read_header(store.get(key)).fingerprint == fingerprints[key]
        except (ObjectNotFound, InvalidRecord):
            return False

    own = map_ahead(has_spec, fingerprints, READERS)
    return {key for key, is_own in zip(fingerprints, own, strict=True) if not is_own}
