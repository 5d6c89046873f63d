"""How long a worker stays with a job: its slice. Which job is next, the ledger decides (`Ledger.claim_next`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from maskmill.ledger.answers import Turn

SLICE_SECONDS = 1.0
"""How long a worker stays with its job while another of the same model waits: changing empties its pipeline."""

CLAIM_AHEAD_SECONDS = 2.0
"""The next shard is claimed when the images in flight last no longer than this: other jobs may wait for their turn."""

LOADINGS = 10
"""A slice is so many times as long as it takes to load the model of another job."""


class Scheduler:
    """The slices of one worker."""

    def __init__(self) -> None:
        self._job = self._model = ""
        self._since = 0.0
        self._loading_seconds = 0.0

    def begin(self, job: str, model: str, loading_seconds: float) -> None:
        """The worker has the job's model, after so long, and works on one of its shards; a new job begins a slice."""
        if model != self._model:
            self._loading_seconds = loading_seconds
        if job != self._job:
            self._job, self._model, self._since = job, model, time.monotonic()

    def turn(self, *, only_this_job: bool = False) -> Turn:
        """What the ledger needs to know to choose this worker's next shard."""
        lasted = time.monotonic() - self._since
        return Turn(
            self._job,
            self._model,
            stay_with_same_model=lasted < SLICE_SECONDS,
            stay_with_other_model=lasted < max(SLICE_SECONDS, LOADINGS * self._loading_seconds),
            only_this_job=only_this_job,
        )


class Pace:
    """How long the model takes for an image, so that no more is claimed than it can do soon."""

    def __init__(self) -> None:
        self._seconds_an_image = 0.0

    @contextmanager
    def measure(self, images: int) -> Iterator[None]:
        """Time the block, in which so many images go through the model."""
        started = time.monotonic()
        yield
        seconds = (time.monotonic() - started) / images
        before = self._seconds_an_image or seconds
        self._seconds_an_image = (3 * before + seconds) / 4

    def has_time(self, images_in_flight: int, at_least: int) -> bool:
        """Whether the images in flight last for less than `CLAIM_AHEAD_SECONDS`, or are fewer than `at_least`."""
        return images_in_flight < at_least or images_in_flight * self._seconds_an_image < CLAIM_AHEAD_SECONDS
