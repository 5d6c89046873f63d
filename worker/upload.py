"""Encode masks and put them into the store, in threads, while the model goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from maskmill.errors import ImageError, one_line
from maskmill.keys import without_query
from maskmill.schema import Outcome, Status
from maskmill.segment_map import CONTENT_TYPE, MaskHeader, encode
from maskmill.store import Store
from worker.loader import Sample, StageClock
from worker.predict import Prediction
from worker.segmenter import Segmentation

PENDING_PER_THREAD = 4
"""Masks that may wait for each upload thread before the model is held up."""


class Uploads:
    """Outcomes by the sample's place in the shard; `outcomes()` waits for the uploads and raises what they raised."""

    def __init__(self, store: Store, fingerprint: str, pool: ThreadPoolExecutor, pending: int) -> None:
        self.store = store
        self.fingerprint = fingerprint
        self._pool = pool
        self._limit = pending
        self._pending: list[Future[None]] = []
        self._outcomes: dict[int, Outcome] = {}

    def add(self, prediction: Prediction) -> None:
        """Take one image's prediction; blocks while too many wait. Raises `StoreUnavailable` of an earlier one."""
        sample, result = prediction.sample, prediction.result
        if isinstance(result, ImageError):
            self.add_failure(sample, result)
            return
        if len(self._pending) >= self._limit:
            self._pending.pop(0).result()
        seconds = sample.seconds | prediction.seconds
        self._pending.append(self._pool.submit(self._store, sample, result, seconds))

    def add_failure(self, sample: Sample, error: ImageError) -> None:
        """Take one image that has no mask."""
        self._outcomes[sample.index] = Outcome(
            uri=sample.reference.uri,
            status=Status.FAILED,
            code=error.code,
            reason=one_line(error),
            seconds=_rounded(sample.seconds),
        )

    def outcomes(self) -> list[Outcome]:
        """All outcomes in the shard's order."""
        for future in self._pending:
            future.result()
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    def _store(self, sample: Sample, result: Segmentation, seconds: dict[str, float]) -> None:
        clock = StageClock()
        reference = sample.reference
        header = MaskHeader(
            uri=without_query(reference.uri),  # masks are passed on: no password, no signature
            fingerprint=self.fingerprint,
            subtask=result.subtask,
            segments=result.segments,
        )
        png = clock.time("encode", encode, result.ids, header)
        clock.time("upload", self.store.put, reference.mask_key, png, CONTENT_TYPE)
        self._outcomes[sample.index] = Outcome(
            uri=reference.uri,
            status=Status.STORED,
            mask_key=reference.mask_key,
            fingerprint=self.fingerprint,
            width=sample.width,
            height=sample.height,
            segments=result.segments,
            seconds=_rounded(seconds | clock.seconds),
        )


@contextmanager
def uploads(store: Store, fingerprint: str, threads: int) -> Iterator[Uploads]:
    """Uploads with threads of their own; what has not begun is dropped when the body raises."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="upload")
    try:
        yield Uploads(store, fingerprint, pool, threads * PENDING_PER_THREAD)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 6) for stage, value in seconds.items()}
