"""The way of shards from a message to their reports: `process_shards` shows every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from maskmill.account import read_job
from maskmill.admission import tend_job
from maskmill.errors import ModelUnavailable
from maskmill.schema import JobRecord, Outcome, ShardMessage
from maskmill.services import Services
from maskmill.settings import Settings
from worker.batch_size import BatchSize
from worker.batching import by_shape
from worker.claim import Claim, Claims
from worker.clock import DeviceClock
from worker.drain import draining
from worker.forward import element_count, shape_of
from worker.loader import Loader
from worker.models import Models
from worker.predict import predict
from worker.sample import Sample, Task
from worker.segmenter import Segmenter
from worker.upload import Uploads, uploads

LOOK_AHEAD_BATCHES = 4
"""Batches' worth of later images that an image waits for while a batch of its shape fills."""

MAX_LOOK_AHEAD = 64


class ShardWorker:
    """One worker process: its connections, its model, its loader processes, and the job that it works on."""

    def __init__(self, services: Services, models: Models) -> None:
        self.services = services
        self.models = models
        self._record: JobRecord | None = None
        self._loader: tuple[object, Loader] | None = None
        self._batch_sizes: dict[object, BatchSize] = {}

    def job(self, message: ShardMessage) -> JobRecord:
        """The record of the message's job, read once while the job stays the same."""
        if self._record is None or self._record.job != message.job:
            self._record = read_job(self.services.store(message.out), message.job)
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
    """Claim the message's shard, segment its images, commit its report; go on with the job's next shards meanwhile.

    Without the claim nothing happens. An error of one image becomes its outcome; any other gives the shards in hand
    back, or closes them with their images failed once their attempts are used up (see `worker.claim`).
    """
    record = worker.job(message)
    try:
        segmenter: Segmenter | ModelUnavailable = worker.models.get(record.spec)
    except ModelUnavailable as problem:
        segmenter = problem  # said once the shard is claimed
    with Claims(worker.services) as claims:
        claim = claims.take(message)
        if claim is not None:
            if isinstance(segmenter, ModelUnavailable):
                raise segmenter
            segment(worker, Shift(claims, claim), record, segmenter)


def segment(worker: ShardWorker, shift: Shift, record: JobRecord, segmenter: Segmenter) -> None:
    """Every reference of the shift's shards to its outcome: load, batch by shape, predict, store; all overlapping."""
    settings, size = worker.settings(record), worker.batch_size(record)
    torch.use_deterministic_algorithms(bool(record.execution.deterministic), warn_only=True)
    look_ahead = min(MAX_LOOK_AHEAD, LOOK_AHEAD_BATCHES * (size.asked or MAX_LOOK_AHEAD))
    try:
        with uploads(shift.first.store, record.spec.fingerprint(), settings.upload_threads, shift) as stored:
            samples = worker.loader(record, segmenter).samples(shift.tasks(stored))
            readable = readable_samples(shift.clock.waits(samples), stored)
            for batch in by_shape(
                readable, lambda s: shape_of(s.inputs), lambda s: size.of(element_count(s.inputs)), look_ahead
            ):
                shift.claims.check()
                for prediction in predict(segmenter, batch, size):
                    stored.add(prediction)
    except BaseException:
        worker.drop_loader()
        raise


def readable_samples(samples: Iterable[Sample], stored: Uploads) -> Iterator[Sample]:
    """The samples that have tensors; the others go straight to their outcome."""
    for sample in samples:
        if sample.error is None:
            yield sample
        else:
            stored.add_failure(sample, sample.error)


class Shift:
    """The shards that one message leads to: its own, and the job's next ones as long as there are any."""

    def __init__(self, claims: Claims, first: Claim) -> None:
        self.claims = claims
        self.first = first
        self.clock = DeviceClock()
        self._open: dict[int, Claim] = {}

    def tasks(self, stored: Uploads) -> Iterator[Task]:
        """The references of one shard after the other; the next shard is claimed when the loader has room for it."""
        claim: Claim | None = self.first
        while claim is not None:
            if claim.finish_decided() or claim.closed_after_crashes():
                self._done(claim)
            else:
                yield from self._begin(claim, stored)
            claim = None if draining() else self.claims.take_next(self.first.message)

    def _begin(self, claim: Claim, stored: Uploads) -> Iterator[Task]:
        shard, references = claim.message.shard, claim.references()
        self._open[shard] = claim
        stored.expect(shard, len(references))
        for index, reference in enumerate(references):
            yield Task(shard, index, reference)

    def commit(self, shard: int, outcomes: list[Outcome]) -> None:
        """Decide a shard whose images all have their outcomes; runs in an upload thread."""
        claim = self._open.pop(shard)
        claim.commit(outcomes, self.clock.lap())
        self._done(claim)

    def _done(self, claim: Claim) -> None:
        self.claims.drop(claim)
        tend_job(claim.services, claim.message.job)
