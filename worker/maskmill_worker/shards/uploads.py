"""Encode masks and put them into the store, in threads, while the model goes on; the last one of a shard commits it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from maskmill.addresses import without_query
from maskmill.errors import ImageError, one_line
from maskmill.masks.segment_map import MaskHeader, encode
from maskmill.schema import JobRecord, Outcome, Status
from maskmill.storage.store import Store
from maskmill_worker.model.predict import Prediction
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import Segmentation
from maskmill_worker.process.clock import DeviceClock, StageClock
from maskmill_worker.shards.reuse import StoredMask, put_mask

PENDING_PER_THREAD = 4
"""Masks that may wait for each upload thread before the model is held up."""


class Owner(Protocol):
    """Whose shards they are."""

    clock: DeviceClock

    def commit(self, shard: int, outcomes: list[Outcome]) -> None:
        """Called in an upload thread, once, with an outcome for each image of the shard, in order."""


@dataclass
class _Shard:
    images: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class Uploads:
    """Outcomes by shard and place; what an upload or a commit raised is raised by the next `add` or by `finish`."""

    def __init__(self, store: Store, record: JobRecord, pool: ThreadPoolExecutor, limit: int, owner: Owner) -> None:
        self.store = store
        self.record = record
        self.fingerprint = record.spec.fingerprint()
        self._pool = pool
        self._limit = limit
        self._owner = owner
        self._pending: deque[Future[None]] = deque()
        self._shards: dict[int, _Shard] = {}
        self._lock = Lock()

    def expect(self, shard: int, images: int) -> None:
        """A shard of so many images (at least one) is on its way."""
        self._shards[shard] = _Shard(images)

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
        self._submit(self._book, sample.task.shard, sample.task.index, outcome)

    def settle(self, shard: int, outcomes: Mapping[int, Outcome]) -> None:
        """Take outcomes, by the images' places in the shard, for those that have none yet."""
        for index, outcome in outcomes.items():
            self._book(shard, index, outcome)

    def add_failure(self, sample: Sample, error: ImageError) -> None:
        """Take one image that has no mask."""
        outcome = Outcome(
            uri=sample.task.reference.uri,
            status=Status.FAILED,
            code=error.code,
            reason=one_line(error),
            seconds=_rounded(sample.seconds),
        )
        self._submit(self._book, sample.task.shard, sample.task.index, outcome)

    def finish(self) -> None:
        """Wait until all that was added is stored and all complete shards are committed."""
        while self._pending:
            self._pending.popleft().result()

    def _submit(self, function: Callable[..., None], *arguments: object) -> None:
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()
        if len(self._pending) >= self._limit:
            with self._owner.clock.waiting("storing"):
                self._pending.popleft().result()
        self._pending.append(self._pool.submit(function, *arguments))

    def _store(self, sample: Sample, result: Segmentation, seconds: dict[str, float]) -> None:
        clock = StageClock()
        reference = sample.task.reference
        header = MaskHeader(
            uri=without_query(reference.uri),  # masks are passed on: no password, no signature
            fingerprint=self.fingerprint,
            subtask=result.subtask,
            segments=result.segments,
            image_version=sample.version or None,
            job=self.record.job,
        )
        png = clock.time("encode", encode, result.ids, header)
        made = StoredMask(header, sample.width, sample.height)
        there = clock.time("upload", put_mask, self.store, reference, self.record, png, made)
        outcome = there.outcome(reference, self.record.job, _rounded(seconds | clock.seconds))
        self._book(sample.task.shard, sample.task.index, outcome)

    def _book(self, number: int, index: int, outcome: Outcome) -> None:
        with self._lock:
            shard = self._shards.get(number)
            if shard is None:  # settled, complete and committed
                return
            shard.outcomes.setdefault(index, outcome)
            if len(shard.outcomes) < shard.images:
                return
            del self._shards[number]
        self._owner.commit(number, [shard.outcomes[index] for index in sorted(shard.outcomes)])


@contextmanager
def uploads(store: Store, record: JobRecord, threads: int, owner: Owner) -> Iterator[Uploads]:
    """Uploads with threads of their own; what has not begun is dropped when the body raises."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="upload")
    try:
        made = Uploads(store, record, pool, threads * PENDING_PER_THREAD, owner)
        yield made
        made.finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 6) for stage, value in seconds.items()}
