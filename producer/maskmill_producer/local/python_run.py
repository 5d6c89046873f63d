"""`maskmill.run`: segment images on this machine from Python, one result after the other."""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, Unpack

import structlog

from maskmill import device, parameters
from maskmill.client import Client, Source
from maskmill.errors import JobFailed, MaskmillError
from maskmill.job import Job
from maskmill.job_bar import JobBar, job_bar
from maskmill.jobs.inputs import Inputs
from maskmill.jobs.lifecycle import prune
from maskmill.jobs.outcomes import Decided
from maskmill.jobs.waiting import of_own_worker
from maskmill.parameters import PipelineParameters
from maskmill.result import Result
from maskmill.schema import utc_now
from maskmill.settings import Settings, load_settings
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill_producer.local.session import Session, asked_of_worker, check_parts, session
from maskmill_producer.local.worker_process import worker_command

log = structlog.get_logger(__name__)

SHARD_SIZE = 16
"""Results come shard by shard: small ones come soon. Large jobs have larger ones, too."""

MASK_READERS = 4

KEPT = timedelta(days=1)
"""How long the embedded store keeps masks for the next run of the same parameters."""

KILLED = timedelta(days=7)
"""A run that has not ended for so long was killed."""

FOLDER = "python"
"""Below it each set of parameters has an output prefix: one prefix is for one spec."""


def run(
    images: Source | Iterable[Source],
    *,
    device: str = "auto",
    column: str | None = None,
    all_files: bool = False,
    progress: bool | None = None,
    **pipeline_parameters: Unpack[PipelineParameters],
) -> Run:
    """Segment images on this machine: the results one by one, in the order of the inputs.

        for result in maskmill.run(["cat.jpg", Image.open("dog.png")], model="demo", threshold=0.8):
            result.input, result.segments, result.segment_map

    `images` is one input or an iterable of them: paths, addresses, folders and lists (docs/sources.md), PIL images,
    arrays, bytes of image files (docs/python.md). An iterable is read to its end before the first result. An image
    that fails is a result, too, with `failed`, `code` and `reason`: it raises only when one asks for its mask.
    An image that is given twice has two results. `device`, `column` and `all_files` are those of the `maskmill run`
    command, the others those of the transformers pipeline. `progress` shows a bar; None: on a terminal and in a
    notebook.

    Starts a broker, an object store and a worker (`pip install 'maskmill[worker,embedded]'`) at the first result, and
    stops them after the last one, when it is closed (also by `with`), at an error, at Ctrl-C and at the program's end.
    Raises `SourceError`, `InvalidSpec`, `UsageError`, `ModelUnavailable`, `JobFailed` or `EmbeddedServersFailed`.
    """
    parameters.parse(**pipeline_parameters)
    Inputs.of(images).check()
    worker_command()  # raises before anything is started
    return Run(_Asked(images, device, column, all_files, progress, pipeline_parameters))


class Run(Iterator[Result]):
    """The results of `maskmill.run`."""

    def __init__(self, asked: _Asked) -> None:
        self._session = _Session(asked)
        self._results = self._session.results()
        # Also at the interpreter's end.
        self._finalizer = weakref.finalize(self, _close, self._results, os.getpid())

    @property
    def job(self) -> Job | None:
        """The job, from the first result on; it can be asked inside the loop: `run.job.record().left_out`."""
        return self._session.job

    def close(self) -> None:
        """Stop servers and worker; images that have no result yet get none."""
        self._finalizer()

    def __next__(self) -> Result:
        return next(self._results)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<maskmill.run: {self.job.id if self.job else 'not begun'}>"


@dataclass(frozen=True)
class _Asked:
    images: Source | Iterable[Source]
    device: str
    column: str | None
    all_files: bool
    progress: bool | None
    parameters: PipelineParameters

    @property
    def prefix(self) -> str:
        spec, _ = parameters.parse(**self.parameters)
        return f"{FOLDER}/{spec.fingerprint()[:16]}"

    def fields(self, settings: Settings) -> dict[str, Any]:
        """The run's own settings; those of the process stay as they are."""
        small = {} if "shard_size" in settings.model_fields_set else {"shard_size": SHARD_SIZE}
        queue = f"python-{secrets.token_hex(6)}"
        return {"prefix": self.prefix, "queue": queue, **small, **asked_of_worker(self.parameters)}


@dataclass
class _Session:
    """Servers, worker and job of one run."""

    asked: _Asked
    job: Job | None = None

    def results(self) -> Generator[Result]:
        """Start all, give the results as they come, and stop all, whatever ends it."""
        with ExitStack() as stack, job_bar("segmenting", self.asked.progress) as bar:
            asked, settings = self.asked, load_settings()
            check_parts(asked.parameters, settings)
            device.require(asked.device)
            bar.step("starting broker, object store and worker")
            options, fields = ["--device", asked.device], asked.fields(settings)
            here = stack.enter_context(session(settings.state_dir, options, fields))
            bar.step("reading the images")
            self.job = job = self._submit(here.client)
            stack.callback(_clean_up, here.client, job)
            stack.callback(here.end)
            bar.step("loading the model")
            for shard in _shards(job, here, bar):
                yield from map_ahead(Result.fetched, shard, MASK_READERS)
            here.worker_log.unlink(missing_ok=True)

    def _submit(self, client: Client) -> Job:
        """Masks get their images' full paths: the prefix is for the images of all folders."""
        asked = self.asked
        return client.submit(
            asked.images, root="/", column=asked.column, all_files=asked.all_files, repeats=True, **asked.parameters
        )


def _shards(job: Job, here: Session, bar: JobBar) -> Iterator[list[Result]]:
    """The results of one shard after the other, each as soon as it is decided."""
    watch, shards, decided = job.watch(), job.record().shards, Decided(job.store, job.id)

    def look() -> None:
        if status := watch.look():
            bar.show(of_own_worker(status))

    def wait() -> None:
        look()
        if not watch.closed:
            here.check(watch)
            time.sleep(watch.pause())

    for shard in range(shards):
        while not (found := decided.paired(shard)):
            wait()
            if watch.closed:  # what has no report now never gets one: `max_failures` has stopped the job
                decided = Decided(job.store, job.id)
                if not decided.paired(shard):
                    raise JobFailed(f"job {job.id} has ended, and shard {shard} has no report: run it again")
        look()
        yield [Result.of(*each, job.store) for each in found]
    while not watch.closed:
        wait()


def _close(results: Generator[Result], pid: int) -> None:
    """End a run; not in a child process that was forked meanwhile, which has no part in it."""
    if os.getpid() == pid:
        results.close()
    else:
        OTHERS.append(results)


OTHERS: list[Generator[Result]] = []
"""Of the process that this one was forked from: never closed here."""


def _clean_up(client: Client, job: Job) -> None:
    """Leave the masks, for the next run of these parameters. What cannot be deleted is a warning."""
    try:
        if job.manifest() is None:
            job.cancel()
        job.store.delete_all(item.key for item in job.store.list(keys.images(job.id)))
        bucket = client.services.store(f"s3://{client.settings.bucket}")
        for name in bucket.folders(f"{FOLDER}/"):
            out = f"{bucket.url}/{FOLDER}/{name}"
            _give_up_killed(client, out)
            prune(client.services, out, KEPT, masks=True)
    except MaskmillError as error:
        log.warning("earlier_results_not_deleted", code=error.code, reason=str(error))


def _give_up_killed(client: Client, out: str) -> None:
    """Close the jobs of runs that were killed long ago, so that they are pruned a day later."""
    for record in client.unfinished(out):
        if record.created < utc_now() - KILLED:
            left = Job(record.job, out, client.services)
            left.resume()
            left.cancel()
