"""From sources to a job in the bucket, as a stream: references, shards, then `job.json`, then the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import TextIO

from maskmill.addresses import Address, split_url
from maskmill.errors import SourceError
from maskmill.images import sources
from maskmill.jobs import reconcile
from maskmill.jobs.account import JSON_LINES, enter_job, enter_new_job
from maskmill.schema import Execution, JobRecord, Spec, reference_line, utc_now
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

SHARDS_OF_A_SIZE = 64
DOUBLINGS = 2

PUT_THREADS = 8
"""Shards that are put at once; more threads are no faster against a store on the same two cores."""


def submit(
    services: Services,
    source_names: Sequence[str],
    *,
    out: str,
    spec: Spec,
    execution: Execution,
    column: str | None = None,
    stdin: TextIO | None = None,
    exclude: str | None = None,
    limit: int | None = None,
    on_images: Callable[[int], None] | None = None,
) -> JobRecord:
    """Submit a job and wake the workers.

    Images below the local folder `exclude` are left out: the masks of the last run are no sources of this one.
    `limit` takes only so many images. `on_images` is told how many references are in the bucket so far.
    Raises `SourceError` when a source names nothing, `StoreUnavailable` or `BrokerUnavailable` when a server cannot be
    reached; a job whose submission broke off has no `job.json` and is never run.
    """
    job, store = keys.new_job_id(), services.store(out)
    uris = sources.expand(source_names, column=column, list_objects=_lister(services), stdin=stdin)
    lines = itertools.islice(_lines(uris, sources.local_base(source_names), exclude), limit)
    images, shards = _write_shards(store, job, lines, services.settings.shard_size, on_images)
    if not images:
        raise SourceError(f"all images lie below {exclude}, where the masks go: choose another folder for them")
    record = JobRecord(
        job=job,
        created=utc_now(),
        sources=tuple(Address(sources.describe(name)) for name in source_names),
        column=column,
        spec=spec,
        execution=execution,
        images=images,
        shards=shards,
        shard_size=services.settings.shard_size,
        software={"maskmill": version("maskmill")},
    )
    store.put(keys.job_record(job), record.to_json(), "application/json")
    enter_new_job(services, out, record)
    reconcile.notify(services)
    return record


def start(services: Services, out: str, job: str) -> JobRecord:
    """Enter a job of the bucket into the ledger and wake the workers: what `resume` and `retry` do."""
    record = enter_job(services, out, job)
    reconcile.reconcile_job(services, job)
    reconcile.notify(services)
    return record


def _lines(uris: Iterable[str], base: str | None, exclude: str | None) -> Iterator[str]:
    """The references as lines of a shard."""
    below = f"{exclude.rstrip('/')}/" if exclude else None
    for uri in uris:
        if below is None or not uri.startswith(below):
            yield reference_line(uri, keys.mask(uri, base))


def _lister(services: Services) -> Callable[[str], Iterator[str]]:
    def list_objects(url: str) -> Iterator[str]:
        bucket, prefix = split_url(url)
        for item in Store(f"s3://{bucket}", services.settings.source_s3).list(prefix):
            yield f"s3://{bucket}/{item.key}"

    return list_objects


def _write_shards(
    store: Store,
    job: str,
    lines: Iterable[str],
    shard_size: int,
    on_images: Callable[[int], None] | None,
) -> tuple[int, int]:
    """Put the shards with a bounded number in memory; returns (images, shards)."""

    def put(numbered: tuple[int, Sequence[str]]) -> int:
        index, run = numbered
        store.put(keys.shard(job, index), ("\n".join(run) + "\n").encode(), JSON_LINES)
        return len(run)

    images = shards = 0
    for length in map_ahead(put, enumerate(_runs(lines, shard_size)), PUT_THREADS):
        images, shards = images + length, shards + 1
        if on_images:
            on_images(images)
    return images, shards


def _runs(lines: Iterable[str], shard_size: int) -> Iterator[tuple[str, ...]]:
    """The lines of one shard after the other."""
    iterator = iter(lines)
    for index in itertools.count():
        run = tuple(itertools.islice(iterator, images_in_shard(index, shard_size)))
        if not run:
            return
        yield run


def images_in_shard(index: int, shard_size: int) -> int:
    """Twice as many after each `SHARDS_OF_A_SIZE` shards, `DOUBLINGS` times; the last shard takes what is left.

    A put costs client and store about 7 ms of processor time whatever its size, so a large job has fewer and larger
    shards; its first ones stay small, and so does a small job's every shard, so that all workers get some.
    """
    return shard_size << min(index // SHARDS_OF_A_SIZE, DOUBLINGS)
