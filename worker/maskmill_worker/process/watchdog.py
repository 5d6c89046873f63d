"""Time limits for what cannot be interrupted, such as a kernel that never ends: the process goes, as after a crash.

Its leases would otherwise be renewed for as long as it stands still.
"""

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
def time_limit(seconds: float, event: str = "batch_overdue") -> Iterator[None]:
    """End this process, and log the event, if the block takes longer."""
    if seconds == NO_LIMIT:
        yield
        return
    timer = Timer(seconds, _end_process, [seconds, event])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(seconds: float, event: str) -> None:
    log.error(event, limit_seconds=seconds)
    os._exit(EXIT_OVERDUE)
