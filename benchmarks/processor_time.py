"""Processor time by part of a job: which processes take it while a block runs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

from benchmarks.memory import LOOKING
from benchmarks.sampling import sampled

SAMPLE_SECONDS = 0.5
PARTS = {"weed": "object store", "valkey-server": "broker", "pt_data_worker": "loader processes"}
"""By the process's name; all others but this one are the workers' own."""
CLIENT, WORKERS = "client", "workers (model, post-processing, uploads)"

Taken = dict[tuple[int, str], float]
"""Seconds by process id and part."""


@contextmanager
def processor_time() -> Iterator[dict[str, float]]:
    """Seconds of processor time, user and system, of this process and its descendants by part; filled at the end.

    What a process takes after the last look is missed when it ends within the block.
    """
    found = defaultdict[str, float](float)
    before, last = _taken(), _taken()
    try:
        with sampled(lambda: last.update(_taken()), SAMPLE_SECONDS, LOOKING):
            yield found
    finally:
        last.update(_taken())
        for (pid, part), seconds in last.items():
            found[part] += seconds - before.get((pid, part), 0.0)


def described(found: Mapping[str, float], images: int) -> str:
    """Milliseconds an image, the largest part first."""
    parts = sorted(found.items(), key=lambda item: -item[1])
    return ", ".join(f"{part} {1000 * seconds / images:.1f} ms" for part, seconds in parts)


def _taken() -> Taken:
    me, taken = psutil.Process(), Taken()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            taken[process.pid, _part(process)] = times.user + times.system
    return taken


def _part(process: psutil.Process) -> str:
    return CLIENT if process.pid == os.getpid() else PARTS.get(process.name(), WORKERS)
