"""From sources to a job in the bucket, as a stream: references, shards, then `job.json`, then the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from threading import BoundedSemaphore
from typing import TextIO

from maskmill import admission, keys, sources
from maskmill.account import JSON_LINES, enter_job
from maskmill.errors import SourceError
from maskmill.schema import Execution, JobRecord, Reference, Spec, utc_now
from maskmill.services import Services
from maskmill.store import Store, split_url


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
    """Submit a job and announce its first shards.

    Images below the local folder `exclude` are left out: the masks of the last run are no sources of this one.
    `limit` takes only so many images. `on_images` is told how many references are in the bucket so far.
    Raises `SourceError` when a source names nothing, `StoreUnavailable` or `BrokerUnavailable` when a server cannot be
    reached; a job whose submission broke off has no `job.json` and is never run.
    """
    job, store = keys.new_job_id(), services.store(out)
    uris = sources.expand(source_names, column=column, list_objects=_lister(services), stdin=stdin)
    references = itertools.islice(_references(uris, sources.local_base(source_names), exclude), limit)
    images, shards = _write_shards(store, job, references, services.settings.shard_size, on_images)
    if not images:
        raise SourceError(f"all images lie below {exclude}, where the masks go: choose another folder for them")
    record = JobRecord(
        job=job,
        created=utc_now(),
        sources=tuple(sources.describe(name) for name in source_names),
        column=column,
        spec=spec,
        execution=execution,
        images=images,
        shards=shards,
        shard_size=services.settings.shard_size,
        software={"maskmill": version("maskmill")},
    )
    store.put(keys.job_record(job), record.to_json(), "application/json")
    start(services, out, job)
    return record


def start(services: Services, out: str, job: str) -> JobRecord:
    """Enter a job of the bucket into the ledger and announce what is left of it; the way on after any interruption."""
    record = enter_job(services, out, job)
    admission.tend_job(services, job)
    return record


def _references(uris: Iterable[str], base: str | None, exclude: str | None) -> Iterator[Reference]:
    below = f"{exclude.rstrip('/')}/" if exclude else None
    for uri in uris:
        if below is None or not uri.startswith(below):
            yield Reference(uri=uri, mask_key=keys.mask(uri, base))


def _lister(services: Services) -> Callable[[str], Iterator[str]]:
    def list_objects(url: str) -> Iterator[str]:
        bucket, prefix = split_url(url)
        for item in Store(f"s3://{bucket}", services.settings.source_s3).list(prefix):
            yield f"s3://{bucket}/{item.key}"

    return list_objects


def _write_shards(
    store: Store,
    job: str,
    references: Iterable[Reference],
    shard_size: int,
    on_images: Callable[[int], None] | None,
    threads: int = 8,
) -> tuple[int, int]:
    """Put the shards with a bounded number in memory; returns (images, shards)."""
    images = shards = 0
    slots = BoundedSemaphore(2 * threads)
    pending: list[Future[None]] = []
    with ThreadPoolExecutor(threads) as pool:
        for shards, run in enumerate(_runs(references, shard_size), 1):
            body = b"".join(reference.to_json() + b"\n" for reference in run)
            slots.acquire()
            future = pool.submit(store.put, keys.shard(job, shards - 1), body, JSON_LINES)
            future.add_done_callback(lambda _: slots.release())
            pending = [*_unfinished(pending), future]
            images += len(run)
            if on_images:
                on_images(images)
    _unfinished(pending)
    return images, shards


def _runs(references: Iterable[Reference], length: int) -> Iterator[tuple[Reference, ...]]:
    """`itertools.batched`, which Python 3.11 does not have yet."""
    iterator = iter(references)
    while run := tuple(itertools.islice(iterator, length)):
        yield run


def _unfinished(futures: list[Future[None]]) -> list[Future[None]]:
    """The futures that still run; raises what a finished one raised."""
    done = {future for future in futures if future.done()}
    for future in done:
        future.result()
    return [future for future in futures if future not in done]
