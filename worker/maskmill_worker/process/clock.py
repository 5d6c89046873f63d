"""Where the time goes: wall seconds of one image by stage, and of the model."""

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
    """What the model's time is spent on: it works, or it waits for images or for uploads.

    So many `passes` go through it at a time. Where there are fewer, and threads that could begin one wait for
    something, it waits for that. All seconds together are the time that has passed.
    """

    def __init__(self) -> None:
        self.passes = 1
        self._lock = Lock()
        self._in_model = 0
        self._threads = {"storing": 0, "loading": 0}  # that wait, by what holds up the most
        self._since = time.perf_counter()
        self._seconds = self._none()

    @contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        """For the block's time a thread waits for `loading` or for `storing`."""
        self.wait(reason)
        try:
            yield
        finally:
            self.wait(reason, -1)

    def wait(self, reason: str, threads: int = 1) -> None:
        """So many threads more wait for this from now on, or less."""
        with self._lock:
            self._book()
            self._threads[reason] += threads

    @contextmanager
    def working(self, passes: int = 1) -> Iterator[None]:
        """For the block's time one pass more goes through the model, or one that takes the place of several."""
        self._enter(passes)
        try:
            yield
        finally:
            self._enter(-passes)

    def lap(self) -> DeviceSeconds:
        """The seconds since the last lap; may be called from another thread."""
        with self._lock:
            self._book()
            seconds, self._seconds = self._seconds, self._none()
        return DeviceSeconds(**{name: round(value, 6) for name, value in seconds.items()})

    def _enter(self, passes: int) -> None:
        with self._lock:
            self._book()
            self._in_model += passes

    def _book(self) -> None:
        """Share out the time since the last change."""
        now = time.perf_counter()
        share = (now - self._since) / self.passes
        self._since = now
        empty = max(0, self.passes - self._in_model)
        working = self.passes
        for reason, threads in self._threads.items():
            waiting = max(0, min(threads, empty))  # less than none wait while threads end that nobody waits for
            empty, working = empty - waiting, working - waiting
            self._seconds[reason] += waiting * share
        self._seconds["busy"] += working * share

    def _none(self) -> dict[str, float]:
        return dict.fromkeys(("busy", *self._threads), 0.0)
