"""Where the time goes: wall seconds of one image by stage, and of the thread that drives the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from maskmill.schema import DeviceSeconds


class StageClock:
    """Wall seconds of one image by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, function: Any, *arguments: Any, **options: Any) -> Any:
        """Call the function and book its time, whether it returns or raises."""
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            self.seconds[stage] = round(time.perf_counter() - started, 6)


class DeviceClock:
    """What the threads that drive the model do: they work, or they wait for images or for uploads.

    Of several `threads` each counts for its share, so that all seconds together are the time that has passed.
    """

    def __init__(self) -> None:
        self.threads = 1
        self._lock = Lock()
        self._since = time.perf_counter()
        self._waited = {"loading": 0.0, "storing": 0.0}

    @contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        """Book the block's time as waiting, of one thread, for `loading` or for `storing`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.waited(reason, started)

    def waited(self, reason: str, since: float) -> None:
        """Book the time since then (of `time.perf_counter`), likewise."""
        with self._lock:
            self._waited[reason] += (time.perf_counter() - max(since, self._since)) / self.threads

    def lap(self) -> DeviceSeconds:
        """The seconds since the last lap; may be called from another thread."""
        with self._lock:
            now = time.perf_counter()
            passed, waited = now - self._since, dict(self._waited)
            self._since, self._waited = now, dict.fromkeys(waited, 0.0)
        busy = max(0.0, passed - sum(waited.values()))
        return DeviceSeconds(busy=round(busy, 6), **{name: round(value, 6) for name, value in waited.items()})
