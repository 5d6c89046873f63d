"""The way of one shard from its message to its report: `process_shard` shows every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from maskmill.account import read_job
from maskmill.admission import tend_job
from maskmill.errors import ModelUnavailable
from maskmill.schema import JobRecord, Outcome, Reference, ShardMessage
from maskmill.services import Services
from maskmill.settings import Settings
from worker.batching import by_shape
from worker.claim import Claim, claimed
from worker.loader import Sample, load, process_count
from worker.models import Models
from worker.predict import predict
from worker.segmenter import Segmenter, shape_of
from worker.upload import Uploads, uploads

LOOK_AHEAD_BATCHES = 4
"""Batches' worth of images that may be held back while batches of equal shape fill."""


class ShardWorker:
    """One worker process: its connections, its model, and the job that it works on."""

    def __init__(self, services: Services, models: Models) -> None:
        self.services = services
        self.models = models
        self._record: JobRecord | None = None

    def job(self, message: ShardMessage) -> JobRecord:
        """The record of the message's job, read once while the job stays the same."""
        if self._record is None or self._record.job != message.job:
            self._record = read_job(self.services.store(message.out), message.job)
        return self._record

    def segmenter(self, record: JobRecord) -> Segmenter | ModelUnavailable:
        """The job's segmenter, warmed up; or why it cannot be had, which is said once the shard is claimed."""
        try:
            return self.models.get(record.spec)
        except ModelUnavailable as problem:
            return problem


def process_shard(worker: ShardWorker, message: ShardMessage) -> None:
    """Claim the shard, segment its images, commit its report, announce what comes next.

    Without the claim nothing happens. An error of one image becomes its outcome; any other gives the shard back, or
    closes it with its images failed once the attempts are used up (see `worker.claim`).
    """
    record = worker.job(message)
    segmenter = worker.segmenter(record)
    with claimed(worker.services, message) as claim:
        if claim is None:
            return
        if not claim.finish_decided():
            claim.refuse_after_crashes()
            if isinstance(segmenter, ModelUnavailable):
                raise segmenter
            settings = job_settings(worker.services.settings, record)
            claim.commit(segment(claim, claim.references(), segmenter, record, settings))
    tend_job(worker.services, message.job)


def segment(
    claim: Claim,
    references: Sequence[Reference],
    segmenter: Segmenter,
    record: JobRecord,
    settings: Settings,
) -> list[Outcome]:
    """Every reference of the shard to its outcome: load, batch by shape, predict, store; all overlapping."""
    with (
        closing(load(references, segmenter, settings, process_count(settings.num_workers))) as samples,
        uploads(claim.store, record.spec.fingerprint(), settings.upload_threads) as stored,
    ):
        readable = readable_samples(samples, stored)
        look_ahead = settings.batch_size * LOOK_AHEAD_BATCHES
        for batch in by_shape(readable, lambda s: shape_of(s.inputs), settings.batch_size, look_ahead):
            claim.check()
            for prediction in predict(segmenter, batch):
                stored.add(prediction)
        return stored.outcomes()


def readable_samples(samples: Iterable[Sample], stored: Uploads) -> Iterator[Sample]:
    """The samples that have tensors; the others go straight to their outcome."""
    for sample in samples:
        if sample.error is None:
            yield sample
        else:
            stored.add_failure(sample, sample.error)


def job_settings(settings: Settings, record: JobRecord) -> Settings:
    """The worker's settings with what the job's submitter asked for instead."""
    asked = record.execution
    changes = {
        "batch_size": asked.batch_size,
        "num_workers": asked.num_workers,
        "fetch_timeout_seconds": asked.timeout,
    }
    return settings.model_copy(update={name: value for name, value in changes.items() if value is not None})
