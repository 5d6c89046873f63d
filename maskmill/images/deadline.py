"""When the attempt that a thread makes to fetch an image has to be over, redirects included."""

from __future__ import annotations

import math
import threading
import time

import httpcore


class _Deadline(threading.local):
    """When the attempt that this thread makes has to be over, on the monotonic clock."""

    at = math.inf

    def start(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def wait(self, timeout: float | None = None) -> float:
        """The seconds that may be waited now; raises `httpcore.ReadTimeout` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(left, timeout)


DEADLINE = _Deadline()
