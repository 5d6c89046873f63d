"""Encode masks and put them into the store, in threads, while the model goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

from maskmill.errors import ImageError
from maskmill.jobs.reuse import StoredMask, put_mask
from maskmill.masks.segment_map import MaskHeader, encode
from maskmill.schema import JobRecord, Outcome
from maskmill_worker.model.predict import Prediction
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import Segmentation
from maskmill_worker.process.clock import StageClock
from maskmill_worker.shards.held_shard import failed
from maskmill_worker.shards.slice import Slice

PENDING_PER_THREAD = 4
"""Masks that may wait for each upload thread before the model is held up."""


class Uploads:
    """Images whose outcomes are on their way to the slice's shards.

    What a thread raised (an upload, a commit) is raised by the next `add…` or by `finish`. Several threads may add.
    """

    def __init__(
        self, shards: Slice, record: JobRecord, fingerprint: str, pool: ThreadPoolExecutor, limit: int
    ) -> None:
        self.shards = shards
        self.record = record
        self.fingerprint = fingerprint
        self._pool = pool
        self._limit = limit
        self._pending: deque[Future[None]] = deque()
        self._lock = Lock()

    def add(self, prediction: Prediction) -> None:
        """Take one image's prediction; blocks while too many wait."""
        result = prediction.result
        if isinstance(result, ImageError):
            self.add_failure(prediction.sample, result)
            return
        seconds = prediction.sample.seconds | prediction.seconds
        self._submit(self._store, prediction.sample, result, seconds)

    def add_known(self, sample: Sample, outcome: Outcome) -> None:
        """Take one image whose outcome needs no work: its mask is there already."""
        self._submit(self.shards.decide, sample.task.shard, sample.task.index, outcome)

    def add_failure(self, sample: Sample, error: ImageError) -> None:
        """Take one image that has no mask."""
        self.add_known(sample, failed(sample.task.reference, error, _rounded(sample.seconds)))

    def finish(self) -> None:
        """Wait until all that was added is stored and all complete shards are committed."""
        while oldest := self._take_oldest(more_than=0):
            oldest.result()

    def _submit(self, function: Callable[..., None], *arguments: object) -> None:
        while oldest := self._take_oldest(self._limit - 1):
            if oldest.done():
                oldest.result()
            else:
                with self.shards.clock.waiting("storing"):
                    oldest.result()
        with self._lock:
            self._pending.append(self._pool.submit(function, *arguments))

    def _take_oldest(self, more_than: int) -> Future[None] | None:
        """The oldest one that is done, or that more than so many wait with."""
        with self._lock:
            if self._pending and (self._pending[0].done() or len(self._pending) > more_than):
                return self._pending.popleft()
        return None

    def _store(self, sample: Sample, result: Segmentation, seconds: dict[str, float]) -> None:
        clock = StageClock()
        reference = sample.task.reference
        header = MaskHeader(
            uri=reference.uri,
            fingerprint=self.fingerprint,
            subtask=result.subtask,
            segments=result.segments,
            image_version=sample.version or None,
            job=self.record.job,
            scale=sample.scale,
            warnings=sample.warnings or None,
        )
        png = clock.time("encode", encode, result.ids, header)
        made = StoredMask(header, sample.width, sample.height)
        shard = self.shards.get(sample.task.shard)
        replaced = shard.replaced.get(sample.task.index) if shard else None
        there = clock.time("upload", put_mask, self.shards.store, reference, self.record, png, made, replaced)
        outcome = there.outcome(reference, self.record.job, _rounded(seconds | clock.seconds))
        self.shards.decide(sample.task.shard, sample.task.index, outcome)


@contextmanager
def uploads(shards: Slice, record: JobRecord, fingerprint: str, threads: int) -> Iterator[Uploads]:
    """Uploads of masks with this fingerprint, by threads; what has not begun is dropped when the body raises."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="upload")
    try:
        made = Uploads(shards, record, fingerprint, pool, threads * PENDING_PER_THREAD)
        yield made
        made.finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 6) for stage, value in seconds.items()}
