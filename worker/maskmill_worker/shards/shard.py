"""The way of shards from a message to their reports: `process_shards` shows every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import torch

from maskmill.errors import BrokerUnavailable, JobCancelled, ModelUnavailable
from maskmill.images.fetch import FetchLimits
from maskmill.jobs.account import read_job
from maskmill.jobs.admission import tend_job
from maskmill.schema import JobRecord, Outcome, ShardMessage
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage.store import CONNECT_SECONDS, READ_SECONDS, WORKER_ATTEMPTS
from maskmill_worker.loading.loader import Loader
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.batching import by_shape
from maskmill_worker.model.forward import element_count, shape_of
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import predict
from maskmill_worker.model.sample import Key, Sample, Task
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.process.clock import DeviceClock, each_within
from maskmill_worker.process.drain import draining
from maskmill_worker.process.watchdog import time_limit
from maskmill_worker.shards.claim import Claim, Claims
from maskmill_worker.shards.reuse import StoredMask, stored_masks
from maskmill_worker.shards.scheduler import Turns
from maskmill_worker.shards.uploads import Uploads, uploads

LOOK_AHEAD_BATCHES = 4
"""Batches' worth of later images that an image waits for while a batch of its shape fills."""

MAX_LOOK_AHEAD = 64


class ShardWorker:
    """One worker process: its connections, its model, its loader processes, and the job that it works on."""

    def __init__(self, services: Services, models: Models) -> None:
        self.services = services
        self.models = models
        self.turns = Turns(services.ledger)
        self._record: JobRecord | None = None
        self._loader: tuple[object, Loader] | None = None
        self._batch_sizes: dict[object, BatchSize] = {}

    def record(self, job: str, out: str) -> JobRecord:
        """The job's record, read once while the job stays the same."""
        if self._record is None or self._record.job != job:
            self._record = read_job(self.services.store(out), job)
        return self._record

    def settings(self, record: JobRecord) -> Settings:
        """The worker's settings with what the job's submitter asked for instead."""
        asked = record.execution
        changes = {"num_workers": asked.num_workers, "fetch_timeout_seconds": asked.timeout}
        known = {name: value for name, value in changes.items() if value is not None}
        return self.services.settings.model_copy(update=known)

    def batch_size(self, record: JobRecord) -> BatchSize:
        """What was learned about batches of this job's model, for the batch size that the job asks for."""
        asked = record.execution.batch_size or self.services.settings.batch_size
        images = 1 if record.execution.deterministic else None if asked == "auto" else asked
        return self._batch_sizes.setdefault((record.spec.model, record.spec.dtype, images), BatchSize(images))

    def loader(self, record: JobRecord, segmenter: Segmenter) -> Loader:
        """The loader processes of the last shard where they fit this one, else new ones."""
        key = (record.spec, record.execution)
        if self._loader is None or self._loader[0] != key:
            self.drop_loader()
            self._loader = key, Loader(segmenter, self.settings(record))
        return self._loader[1]

    def drop_loader(self) -> None:
        """End the loader processes, with whatever they have in hand."""
        if self._loader is not None:
            self._loader[1].close()
            self._loader = None


def process_shards(worker: ShardWorker, message: ShardMessage) -> None:
    """Work on the message's shard if it can be won, then on whatever job's turn it is, until no job has a shard left.

    An error of one image becomes its outcome; any other gives the shards in hand back, or closes them with their images
    failed once their attempts are used up (see `maskmill_worker.shards.claim`).
    """
    going_on = not draining() and work_on(worker, message.job, message.out, message.shard)
    while going_on and not draining() and (load := worker.turns.next()) is not None:
        going_on = work_on(worker, load.job, load.out)


def work_on(worker: ShardWorker, job: str, out: str, shard: int | None = None) -> bool:
    """Claim this shard of the job, or its next one, and go on with the next ones while it is the job's turn.

    False if something went wrong, or there was none to claim: then the next message decides.
    """
    record = worker.record(job, out)
    try:
        segmenter: Segmenter | ModelUnavailable = worker.models.get(record.spec)
    except ModelUnavailable as problem:
        segmenter = problem  # said once a shard is claimed
    with Claims(worker.services, job, out) as claims:
        claim = claims.take(shard) if shard is not None else claims.take_next()
        if claim is None:
            return shard is not None
        if isinstance(segmenter, ModelUnavailable):
            raise segmenter
        segment(worker, Shift(worker, claims, claim, record), segmenter)
    return not claims.interrupted


def segment(worker: ShardWorker, shift: Shift, segmenter: Segmenter) -> None:
    """Every reference of the shift's shards to its outcome: load, batch by shape, predict, store; all overlapping."""
    record = shift.record
    settings, size = worker.settings(record), worker.batch_size(record)
    torch.use_deterministic_algorithms(bool(record.execution.deterministic), warn_only=True)
    look_ahead = min(MAX_LOOK_AHEAD, LOOK_AHEAD_BATCHES * (size.asked or MAX_LOOK_AHEAD))
    try:
        with (
            uploads(shift.first.store, record, settings.upload_threads, shift) as stored,
            shift.until_cancelled(stored),
        ):
            loaded = worker.loader(record, segmenter).samples(shift.tasks(stored))
            samples = each_within(lambda: time_limit(stuck_seconds(settings), "worker_stuck"), loaded)
            readable = shift.readable(shift.clock.waits(samples), stored)
            for batch in by_shape(readable, shift.shape, lambda s: size.of(element_count(s.inputs)), look_ahead):
                shift.claims.check()
                with shift.claims.in_the_model(batch):
                    for prediction in predict(segmenter, batch, size, settings.batch_timeout_seconds):
                        stored.add(prediction)
    except BaseException:
        worker.drop_loader()
        raise


def stuck_seconds(settings: Settings) -> float:
    """Longer than the next image can take by the limits of its reads, twice: a worker that waits so long never ends."""
    http = FetchLimits.attempts * settings.fetch_timeout_seconds
    store = WORKER_ATTEMPTS * (CONNECT_SECONDS + READ_SECONDS)
    return 2 * (http + store + settings.image_timeout_seconds) + settings.batch_timeout_seconds


class Shift:
    """The shards of one job that are worked on in one go: the first, and the next ones while it is the job's turn."""

    def __init__(self, worker: ShardWorker, claims: Claims, first: Claim, record: JobRecord) -> None:
        self.worker = worker
        self.claims = claims
        self.first = first
        self.record = record
        self.clock = DeviceClock()
        self._open: dict[int, Claim] = {}
        self._masks: dict[Key, StoredMask] = {}

    def tasks(self, stored: Uploads) -> Iterator[Task]:
        """The references of one shard after the other; the next shard is claimed when the loader has room for it."""
        claim: Claim | None = self.first
        while claim is not None:
            if claim.finish_decided() or claim.closed_after_crashes():
                self._done(claim)
            else:
                yield from self._begin(claim, stored)
            claim = self._next()

    def readable(self, samples: Iterable[Sample], stored: Uploads) -> Iterator[Sample]:
        """The samples that have tensors; the others go straight to their outcome."""
        for sample in samples:
            mask = self._masks.pop(sample.task.key, None)
            if sample.unchanged and mask:
                stored.add_known(sample, mask.outcome(sample.task.reference, self.record.job))
            elif sample.error is not None:
                stored.add_failure(sample, sample.error)
            else:
                yield sample

    def shape(self, sample: Sample) -> tuple[Any, ...] | None:
        """What images of one batch have in common; None for one that may end the process, which goes alone."""
        return None if self.claims.suspected(sample) else shape_of(sample.inputs)

    def commit(self, shard: int, outcomes: list[Outcome]) -> None:
        """Decide a shard whose images all have their outcomes; runs in an upload thread."""
        claim = self._open.pop(shard)
        claim.commit(outcomes, self.clock.lap())
        self._done(claim)

    @contextmanager
    def until_cancelled(self, stored: Uploads) -> Iterator[None]:
        """Once the job is cancelled, account for what is in hand: what is stored by now stays."""
        try:
            yield
        except JobCancelled:
            self.worker.drop_loader()
            stored.finish()
            for shard, claim in list(self._open.items()):
                stored.settle(shard, claim.given_up())

    def _next(self) -> Claim | None:
        if draining():
            return None
        try:
            load = self.worker.turns.next(self.record.job)
            return self.claims.take_next() if load and load.job == self.record.job else None
        except BrokerUnavailable:
            return None  # what is in hand can still be stored

    def _begin(self, claim: Claim, stored: Uploads) -> Iterator[Task]:
        work = claim.work()
        self._open[claim.shard] = claim
        stored.expect(claim.shard, len(work.references))
        stored.settle(claim.shard, work.settled)
        left = [(index, each) for index, each in enumerate(work.references) if index not in work.settled]
        fresh = self.record.execution.overwrite and claim.answer.attempt == 1
        masks = repeat(None, len(left)) if fresh else stored_masks(claim.store, [each for _, each in left], self.record)
        for (index, reference), mask in zip(left, masks, strict=True):
            task = Task(claim.shard, index, reference, mask.image_version if mask else None)
            if mask:
                self._masks[task.key] = mask
            yield task

    def _done(self, claim: Claim) -> None:
        self.claims.drop(claim)
        tend_job(claim.services, claim.job)
