"""Time limits for what cannot be interrupted, such as a kernel that never ends: the process goes, as after a crash.

Its leases would otherwise be renewed for as long as it stands still.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import TIMEOUT_MAX, Condition, Thread

import structlog

log = structlog.get_logger(__name__)

NO_LIMIT = math.inf
EXIT_OVERDUE = 71


@contextmanager
def time_limit(seconds: float, event: str = "batch_overdue") -> Iterator[None]:
    """End this process with `EXIT_OVERDUE`, and log the event, if the block takes longer.

    >>> with time_limit(600, "batch_overdue"):
    ...     outputs = model(batch)
    """
    if seconds == NO_LIMIT:
        yield
        return
    watchdog, limit = _watchdog(os.getpid()), _Limit(time.monotonic() + seconds, seconds, event)
    try:
        watchdog.add(limit)
        yield
    finally:
        watchdog.discard(limit)


@dataclass(frozen=True, eq=False)
class _Limit:
    deadline: float
    seconds: float
    event: str


class _Watchdog:
    """A thread that sleeps until the nearest deadline. Blocks mostly end long before, so it seldom wakes up."""

    def __init__(self) -> None:
        self._limits: set[_Limit] = set()
        self._earlier = Condition()
        self._wakes = math.inf
        Thread(target=self._watch, name="watchdog", daemon=True).start()

    def add(self, limit: _Limit) -> None:
        with self._earlier:
            self._limits.add(limit)
            if limit.deadline < self._wakes:
                self._earlier.notify()

    def discard(self, limit: _Limit) -> None:
        with self._earlier:
            self._limits.discard(limit)

    def _watch(self) -> None:
        with self._earlier:
            while True:
                nearest = min(self._limits, key=lambda limit: limit.deadline, default=None)
                self._wakes = nearest.deadline if nearest else math.inf
                left = self._wakes - time.monotonic()
                if nearest and left <= 0:
                    log.error(nearest.event, limit_seconds=nearest.seconds)
                    os._exit(EXIT_OVERDUE)
                self._earlier.wait(min(left, TIMEOUT_MAX))


@cache
def _watchdog(_process: int) -> _Watchdog:
    """The watchdog of this process: a forked one needs its own, for threads are not forked."""
    return _Watchdog()
