"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """Stands for the module `time` in one that asks it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic
