"""From sources to a job in the bucket, as a stream: references, shards, then `job.json`, then the ledger."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any, TextIO, TypeVar

from maskmill.addresses import split_url
from maskmill.doctor import require_servers
from maskmill.errors import MaskmillError, StoreUnavailable
from maskmill.images import sources
from maskmill.images.entries import Entry, Numbered
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.images.manners import Manners
from maskmill.images.sources import Reach
from maskmill.jobs import reconcile
from maskmill.jobs.account import JSON_LINES, enter_job, enter_new_job
from maskmill.jobs.inputs import Inputs
from maskmill.jobs.intake import Intake, check_strict, nothing_to_do
from maskmill.schema import Execution, JobRecord, Spec, utc_now
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.reader import ObjectReader
from maskmill.storage.store import Store

Found = TypeVar("Found", bound=Entry | Numbered)

SHARDS_OF_A_SIZE = 64
DOUBLINGS = 2

MAX_LIST_BYTES = 2**28
"""Of a list at an address, as it is sent: compressed, a list of ten million references is far below that."""

LIST_SECONDS = 600.0
"""What fetching it may take."""

PUT_THREADS = 8
"""Shards that are put at once; more threads are no faster against a store on the same two cores."""


def submit(
    services: Services,
    given: Any,
    *,
    out: str,
    spec: Spec,
    execution: Execution,
    column: str | None = None,
    root: str | None = None,
    all_files: bool = False,
    strict: bool = False,
    stdin: TextIO | None = None,
    exclude: str | None = None,
    limit: int | None = None,
    repeats: bool = False,
    on_images: Callable[[int], None] | None = None,
) -> JobRecord:
    """Submit a job of what is `given` (`maskmill.jobs.inputs`) and wake the workers.

    Masks of local images mirror their paths below `root` (None: the current directory). `all_files` takes files
    whatever their names; with `strict` a job of which anything is left out is refused. Results below `out`, and all
    below the local folder `exclude`, are left out: the masks of the last run are no sources of this one. `limit` takes
    only so many images. With `repeats` an image that comes twice is submitted twice, and each reference knows its
    input. `on_images` is told how many references are in the bucket so far.
    Broker and store are tried first. Raises `SourceError` when a source names nothing, `StoreUnavailable` or
    `BrokerUnavailable` when a server cannot be reached, `StoreRefused` or `BrokerRefused` when it will not do; a job
    whose submission broke off has no `job.json` and is never run. The error names what it leaves behind.
    """
    inputs = Inputs.of(given, numbered=repeats)
    require_servers(services, out)
    inputs.check()
    job, store, shard_size = keys.new_job_id(), services.store(out), services.settings.shard_size
    reach = reach_of(services.settings, anonymous=bool(execution.anonymous))

    def expand(name: str) -> Iterator[Entry]:
        return sources.expand([name], reach=reach, column=column, all_files=all_files, stdin=stdin)

    entries = inputs.entries(store, job, expand)
    intake = intake_of(out, root, exclude, may_repeat=inputs.may_repeat and not repeats)
    with _leaving_nothing(store, job):
        shards = _write_shards(store, job, runs(intake.lines, entries, shard_size, limit), on_images)
        check_account(intake, strict=strict)
    record = JobRecord(
        job=job,
        created=utc_now(),
        sources=tuple(inputs.described),
        inputs=inputs.count if inputs.numbered else None,
        column=column,
        root=intake.root,
        all_files=all_files,
        limit=limit,
        spec=spec,
        execution=execution,
        found=intake.submitted + intake.left_out.total(),
        left_out=dict(intake.left_out),
        left_out_examples=intake.examples,
        images=intake.submitted,
        shards=shards,
        shard_size=shard_size,
        software={"maskmill": version("maskmill")},
    )
    with _telling(lambda: _not_a_job_yet(job)):
        store.put(keys.job_record(job), record.to_json(), "application/json")
    with _telling(lambda: f"job {job} is in the bucket: `maskmill resume {job} --out {out}` takes it up"):
        enter_new_job(services, out, record)
        reconcile.notify(services)
    return record


def start(services: Services, out: str, job: str) -> JobRecord:
    """Enter a job of the bucket into the ledger and wake the workers: what `resume` and `retry` do."""
    record = enter_job(services, out, job)
    reconcile.reconcile_job(services, job)
    reconcile.notify(services)
    return record


def check_account(intake: Intake, *, strict: bool) -> None:
    """Raise `SourceError` for a job without images, or with `strict` for one of which anything is left out."""
    if strict:
        check_strict(intake.left_out, intake.examples)
    if not intake.submitted:
        raise nothing_to_do(intake.left_out, intake.examples)


@contextmanager
def _leaving_nothing(store: Store, job: str) -> Iterator[None]:
    """Remove what a submission wrote that breaks off, for whatever reason; what stays is named in the error."""
    stays = [_not_a_job_yet(job)]
    with _telling(lambda: stays[0]):
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception:
            with suppress(MaskmillError):
                store.delete_all(item.key for item in store.list(keys.job_folder(job)))
                stays[0] = ""
            raise


@contextmanager
def _telling(left: Callable[[], str]) -> Iterator[None]:
    """Name in an error what it leaves behind, and how to take that up again."""
    try:
        yield
    except MaskmillError as error:
        if what := left():
            error.args = (f"{error}. {what}", *error.args[1:])
        raise


def _not_a_job_yet(job: str) -> str:
    return f"What was written of job {job} is no job yet: submit again; a day later `maskmill prune` removes it"


def intake_of(out: str | None, root: str | None, exclude: str | None, *, may_repeat: bool) -> Intake:
    """The account of a job; what lies below its own results, or `exclude`, is none of its images."""
    own = [*([f"{out}/masks", f"{out}/jobs"] if out else []), *([exclude] if exclude else [])]
    return Intake(os.path.abspath(root or "."), own, may_repeat=may_repeat)  # noqa: PTH100 - no link is followed


def reach_of(settings: Settings, *, anonymous: bool) -> Reach:
    """How lists at addresses and prefixes in buckets are read."""
    store = settings.source_store
    if anonymous:
        store = store.model_copy(update={"anonymous": True})

    def list_objects(url: str) -> Iterator[str]:
        bucket, prefix = split_url(url)
        for item in Store(f"s3://{bucket}", store).list(prefix):
            yield f"s3://{bucket}/{item.key}"

    limits = FetchLimits(max_bytes=MAX_LIST_BYTES, timeout_seconds=LIST_SECONDS)
    fetcher = Fetcher(limits, ObjectReader(store), manners=Manners.of(settings))
    return Reach(list_objects, fetcher.fetch)


def _write_shards(
    store: Store, job: str, runs: Iterable[Sequence[str]], on_images: Callable[[int], None] | None
) -> int:
    """Put the shards with a bounded number in memory; returns how many."""

    def put(numbered: tuple[int, Sequence[str]]) -> int:
        index, run = numbered
        store.put(keys.shard(job, index), ("\n".join(run) + "\n").encode(), JSON_LINES)
        return len(run)

    images = shards = 0
    for length in map_ahead(put, enumerate(runs), PUT_THREADS):
        images, shards = images + length, shards + 1
        if on_images:
            on_images(images)
    return shards


def runs(
    lines_of: Callable[[Sequence[Found]], list[str]], entries: Iterable[Found], shard_size: int, limit: int | None
) -> Iterator[list[str]]:
    """The lines of one shard after the other; `lines_of` gives those of some entries, and may give fewer."""
    iterator, left = iter(entries), sys.maxsize if limit is None else limit
    for index in itertools.count():
        wanted, run = min(left, images_in_shard(index, shard_size)), list[str]()
        while taken := list(itertools.islice(iterator, wanted - len(run))):
            run += lines_of(taken)
        if not run:
            return
        yield run
        left -= len(run)


def images_in_shard(index: int, shard_size: int) -> int:
    """Twice as many after each `SHARDS_OF_A_SIZE` shards, `DOUBLINGS` times; the last shard takes what is left.

    A put costs client and store about 7 ms of processor time whatever its size, so a large job has fewer and larger
    shards; its first ones stay small, and so does a small job's every shard, so that all workers get some.
    """
    return shard_size << min(index // SHARDS_OF_A_SIZE, DOUBLINGS)
