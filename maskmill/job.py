"""A job from Python: where it stands, what became of its images, and what can be done with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmill.dataset.in_processes import OnProgress
from maskmill.dataset.source import SourceMaker, StoredJob
from maskmill.errors import BrokerUnavailable, JobFailed, JobNotFound, MaskmillError, StoreUnavailable, check_codes
from maskmill.export.account import ExportAccount
from maskmill.export.options import FormatName, parse_options
from maskmill.job_bar import job_bar
from maskmill.jobs import lifecycle
from maskmill.jobs.cancel import cancel_job
from maskmill.jobs.lifecycle import Deleted, shards_in
from maskmill.jobs.outcomes import Decided, by_mask, revealed
from maskmill.jobs.reconcile import reconcile_job
from maskmill.jobs.records import current_round, read_job, read_manifest, read_metadata, read_references
from maskmill.jobs.retry import retry_job
from maskmill.jobs.submit import start
from maskmill.jobs.waiting import away, waiting_for
from maskmill.ledger.answers import Progress
from maskmill.result import Result
from maskmill.schema import JobRecord, JobState, JobStatus, Manifest, Outcome, Status, WaitingFor
from maskmill.scoring.scores import Comparison, Scores
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store
from maskmill.tables import Rows, to_arrow, to_pandas
from maskmill.watch import Watch

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

READERS = 4
"""Threads that read reports ahead of who looks at the outcomes."""


@dataclass(frozen=True)
class Job:
    """A submitted job: its id and output prefix; all else is read when asked for."""

    id: str
    out: str
    services: Services = field(repr=False)

    @property
    def store(self) -> Store:
        """The store below the output prefix."""
        return self.services.store(self.out)

    def record(self) -> JobRecord:
        """What was submitted: `job.record().spec.model`."""
        return read_job(self.store, self.id)

    def manifest(self) -> Manifest | None:
        """The closing account, or None while the job is open: `job.manifest().counts.failed`."""
        return read_manifest(self.store, self.id)

    def status(self) -> JobStatus:
        """Where the job stands: from the ledger, or from the bucket once the ledger has forgotten it.

        Of a job that has ended the bucket says so, too, while the broker is away.

        `job.status().done.total / job.status().submitted` is how much is done.
        """
        try:
            progress = self.services.ledger.progress(self.id)
        except JobNotFound:
            return self._status_from_bucket()
        except BrokerUnavailable:
            with suppress(MaskmillError):
                return self._status_from_bucket()
            raise
        status = status_of(progress)
        if not status.finished:
            waiting = waiting_for(progress, self.services.ledger.standing(self.id))
            return status.model_copy(update={"waiting": waiting})
        manifest = self.manifest() if status.state is JobState.CANCELLED else None
        return status.model_copy(update={"reason": manifest.reason}) if manifest else status

    def resume(self) -> None:
        """Enter the job into the ledger again and wake the workers; harmless for a job that runs.

        `Client().job("20261122-205301-9f86d081", out="s3://bucket/labels").resume()`
        """
        start(self.services, self.out, self.id)

    def cancel(self) -> None:
        """Stop the job within a batch; what is stored stays, the rest is accounted for as cancelled: `job.cancel()`.

        Raises `UsageError` when it has ended.
        """
        cancel_job(self.services, self.id, self.out)
        reconcile_job(self.services, self.id)

    def retry(self, codes: Sequence[str] | None = None) -> int:
        """Queue the failed images of these codes (None: all) again, under this job; returns how many.

        `job.retry(["timeout", "fetch_failed"])`

        Raises `UsageError` when the job still runs, was cancelled, or has no such failures.
        """
        return retry_job(self.services, self.out, self.id, codes)

    def delete(self, *, masks: bool = False) -> Deleted:
        """Remove the job's records from bucket and ledger, and with `masks` those that no other job accounts for.

        `job.delete(masks=True)`

        Raises `UsageError` while the job runs. Broken off at any point, it can be called again.
        """
        return lifecycle.delete_job(self.services, self.out, self.id, masks=masks)

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: bool | None = None,
        on_status: Callable[[JobStatus], None] | None = None,
    ) -> Manifest:
        """Wait until the job is closed and return its account; reconciles the job meanwhile.

        `job.wait(timeout=3600).counts`

        With `progress` there is a bar; None: on a terminal and in a notebook, unless `on_status` shows something.
        Raises `TimeoutError` after `timeout` seconds (the job goes on), `BrokerUnavailable` or `StoreUnavailable` once
        a server has been away for a minute, and `BrokerRefused` at once.
        """
        watch = self.watch(timeout)
        with job_bar(self.id, False if progress is None and on_status else progress) as bar:
            while True:
                if status := watch.look():
                    bar.show(status)
                    if on_status:
                        on_status(status)
                if watch.closed:
                    return watch.closed
                time.sleep(watch.pause())

    async def wait_async(self, timeout: float | None = None) -> Manifest:
        """The same in a coroutine: other tasks of its event loop go on. Shows no bar.

        `manifests = await asyncio.gather(*(job.wait_async() for job in jobs))`
        """
        watch = self.watch(timeout)
        while True:
            await asyncio.to_thread(watch.look)
            if watch.closed:
                return watch.closed
            await asyncio.sleep(watch.pause())

    def watch(self, timeout: float | None = None) -> Watch:
        """For a wait of one's own: `watch.look()` again and again until it is `watch.closed`."""
        return Watch(self.id, self.services, self.status, self.manifest, self._reach_store, timeout)

    def look(self) -> JobStatus:
        """The status of somebody who asks once: `waiting` also says if the store cannot be reached from here."""
        status = self.status()
        if status.waiting and status.waiting.code in (WaitingFor.FIRST_IMAGE, WaitingFor.PAUSE):
            try:
                self._reach_store()
            except StoreUnavailable as error:
                return status.model_copy(update={"waiting": away(error)})
        return status

    def _reach_store(self) -> None:
        """Raise `StoreUnavailable` if the store cannot be reached from here: the ledger does not tell."""
        try:
            self.store.exists(keys.job_record(self.id))
        except StoreUnavailable:
            raise
        except MaskmillError:
            return  # it answers

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each image, in the order of submission; of a running job, what is decided so far.

        `Counter(outcome.status for outcome in job.outcomes())`
        """
        decided = Decided(self.store, self.id)
        for outcomes in map_ahead(decided.outcomes, range(self.record().shards), READERS):
            yield from outcomes

    def to_arrow(self, rows: Rows = "images") -> pa.Table:
        """The outcomes as an Arrow table: a row an image, failed ones too, or with `"segments"` a row a segment.

        `job.to_arrow("segments").group_by("label").aggregate([("area", "sum")])`
        """
        decided = Decided(self.store, self.id)
        return to_arrow(self.out, map_ahead(decided.paired, range(self.record().shards), READERS), rows)

    def to_pandas(self, rows: Rows = "images") -> pd.DataFrame:
        """The same as a data frame, of `maskmill[pandas]`: `job.to_pandas("segments").groupby("label").area.sum()`."""
        return to_pandas(self.to_arrow(rows))

    def export(
        self,
        form: FormatName | str,
        out: str | PathLike[str],
        *,
        processes: int | None = None,
        on_progress: OnProgress = lambda _done, _all: None,
        **options: Any,
    ) -> ExportAccount:
        """Write the results of a job that has ended in a format that other tools read (docs/exports.md).

        `job.export("coco-instances", "coco/", selection=Selection(min_score=0.8), copy_images=True).images`

        `options` are those of `maskmill.export.options.ExportOptions`. Raises `UsageError` for what cannot be, such as
        a target that holds something else, or a job that runs. Interrupted, the same call goes on.
        """
        from maskmill.export.export import export

        asked, settings = parse_options(form, options), self.services.settings
        return export(self.maker(), settings, asked, fspath(out), processes=processes, on_progress=on_progress)

    def score(
        self,
        truth: str | PathLike[str],
        *,
        processes: int | None = None,
        on_progress: OnProgress = lambda _done, _all: None,
        **options: Any,
    ) -> Scores:
        """How good the masks of a job that has ended are: panoptic quality, AP and IoU (docs/scoring.md).

        `job.score("panoptic_val2017.json", selection=Selection(min_score=0.8)).all.pq`

        `truth` is a COCO file, panoptic or of instances, or a folder of class-id PNGs. `options` are those of
        `maskmill.scoring.score.ScoreOptions`. Raises `TruthUnusable` for what is no truth, and `UsageError` for a job
        that runs, or where job and truth have no image or class in common.
        """
        from maskmill.scoring.score import ScoreOptions, score

        return score(self.maker(), Path(truth), ScoreOptions(**options), processes=processes, on_progress=on_progress)

    def compare(
        self,
        other: Job,
        *,
        processes: int | None = None,
        on_progress: OnProgress = lambda _done, _all: None,
        **options: Any,
    ) -> Comparison:
        """What changed from this job to another one over the same images: `old.compare(new).images.differ`.

        Panoptic quality is that of the other job as if this one were true. `options` are those of
        `maskmill.scoring.compare.CompareOptions`. Raises `UsageError` where they have no image in common, and while one
        of them runs.
        """
        from maskmill.scoring.compare import CompareOptions, compare

        makers = self.maker(), other.maker()
        return compare(*makers, CompareOptions(**options), processes=processes, on_progress=on_progress)

    def maker(self) -> SourceMaker:
        """What opens the job as a dataset's source, also in another process."""
        return partial(StoredJob.open, self.services.settings, self.out, self.id)

    def results(self, *, reveal: bool = False) -> Iterator[Result]:
        """The images that have a mask, shard by shard; masks are fetched when they are looked at.

        `for result in job.results(): print(result.uri, result.segment_map.shape)`

        With `reveal` they know their whole addresses: `result.uri.reveal()` has its password and signature.
        Reads the job's metadata as a stream: a few shards' lines are in memory at a time.
        """
        store, last = self.store, current_round(self.store, self.id)
        numbered = self.record().inputs is not None

        def of(shard: int) -> Iterator[Result]:
            found = _begun(read_metadata(store, self.id, shard, last))
            if not (reveal or numbered):
                return (Result(outcome, store) for outcome in found)
            paired = by_mask(found, read_references(store, self.id, shard))
            return (Result.of(revealed(*each) if reveal else each[0], each[1], store) for each in paired)

        for results in map_ahead(of, self.booked(), READERS):
            yield from results

    def failures(self, codes: Sequence[str] | None = None, *, reveal: bool = False) -> Iterator[Outcome]:
        """The images that failed (with one of these codes), each with its code and reason.

        `[failure.uri for failure in job.failures(["timeout"])]`

        With `reveal` they know their whole addresses: `failure.uri.reveal()` has its password and signature.
        Reads reports until the failures of a closed job are complete. Raises `UsageError` for a code that there is not.
        """
        manifest, decided = self.manifest(), Decided(self.store, self.id)
        check_codes(codes or (), manifest.failures if manifest else ())

        def of(shard: int) -> Sequence[Outcome]:
            found = [revealed(*each) for each in decided.paired(shard)] if reveal else decided.outcomes(shard)
            failed = (each for each in found if each.status is Status.FAILED)
            return [each for each in failed if codes is None or each.code in codes]

        found = chain.from_iterable(map_ahead(of, self._decided(), READERS))
        if manifest is None:
            return found
        return islice(found, sum(n for code, n in manifest.failures.items() if codes is None or code in codes))

    def booked(self) -> Iterator[int]:
        """The shards that have masks booked by now, in order."""
        return shards_in(self.store, f"{keys.job_folder(self.id)}metadata/")

    def _decided(self) -> Iterator[int]:
        return shards_in(self.store, keys.reports(self.id))

    def _status_from_bucket(self) -> JobStatus:
        record, manifest = self.record(), self.manifest()
        if manifest is None:
            raise JobFailed(f"the ledger has forgotten job {self.id}: `maskmill resume {self.id}` goes on")
        return JobStatus.at_the_end(manifest, self.out, record.shards)


def status_of(progress: Progress) -> JobStatus:
    """Where a job stands, from the ledger alone."""
    return JobStatus(
        job=progress.job,
        out=progress.out,
        state=progress.final_state if progress.finished else JobState.RUNNING,
        found=progress.images + sum(progress.left_out.values()),
        left_out=progress.left_out,
        submitted=progress.images,
        counts=progress.counts,
        failures=progress.failures,
        warnings=progress.warnings,
        examples=progress.examples,
        shards=progress.shards,
        shards_done=progress.shards_done,
        shards_claimed=progress.claimed,
        shards_queued=0 if progress.finished else progress.shards - progress.shards_done - progress.claimed,
        in_hand=progress.in_hand,
        trouble=progress.trouble,
        files=progress.files,
    )


def _begun(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same, with the first one read: so a thread fetches the lines, and who wants them parses one by one."""
    return chain(list(islice(outcomes, 1)), outcomes)
