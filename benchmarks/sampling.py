"""Looking at something again and again, in a thread, while a block runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def sampled(look: Callable[[], None], seconds: float, share: float) -> Iterator[None]:
    """Call `look` every so many seconds, less often where that would take more than this share of a core."""
    stopped = Event()

    def sample() -> None:
        while not stopped.wait(seconds):
            started = time.perf_counter()
            look()
            stopped.wait((time.perf_counter() - started) / share)

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
