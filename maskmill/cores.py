"""The cores that this process may use: of the machine, or of its container where that has fewer."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Those that it is bound to, or as many as its quota lasts for, rounded up: what `docker run --cpus` sets."""
    bound = bound_cores()
    return min(bound, _quota() or bound)


def bound_cores() -> int:
    """Those that it is bound to (`taskset`, `docker run --cpuset-cpus`), which libraries like torch go by."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> int | None:
    """The least of its control group and those above it (cgroup v2, kernel.org/doc); None where there is none."""
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return None
    own = next((PurePosixPath(line[3:]) for line in lines if line.startswith("0::")), PurePosixPath("/"))
    quotas = [_quota_of(GROUPS / str(group).lstrip("/")) for group in (own, *own.parents)]
    return min((each for each in quotas if each), default=None)


def _quota_of(group: Path) -> int | None:
    try:
        microseconds, period = (group / "cpu.max").read_text().split()
        return max(1, math.ceil(int(microseconds) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such group, or no limit: `max`
        return None
