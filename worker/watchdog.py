"""A time limit for what cannot be interrupted, such as a kernel that never ends: the process goes, as after a crash."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import structlog

log = structlog.get_logger(__name__)

NO_LIMIT = math.inf
EXIT_OVERDUE = 71


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End this process if the block takes longer."""
    if seconds == NO_LIMIT:
        yield
        return
    timer = Timer(seconds, _end_process, [seconds])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(seconds: float) -> None:
    log.error("batch_overdue", limit_seconds=seconds)
    os._exit(EXIT_OVERDUE)
