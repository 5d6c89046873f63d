"""The cores that this process may use: of the machine, or of its container where that has fewer."""

from __future__ import annotations

import math
import os
from contextlib import suppress

from maskmill.control_groups import group_files


def usable_cores() -> int:
    """Those that it is bound to, or as many as its quota lasts for, rounded up: what `docker run --cpus` sets."""
    cores = bound_cores()
    for (quota,) in group_files("cpu.max"):
        with suppress(ValueError, ZeroDivisionError):  # no limit: `max`
            microseconds, period = quota.split()
            cores = min(cores, math.ceil(int(microseconds) / int(period)))
    return max(1, cores)


def bound_cores() -> int:
    """Those that it is bound to (`taskset`, `docker run --cpuset-cpus`), which libraries like torch go by."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
