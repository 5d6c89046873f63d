"""Peak resident memory of a process and its descendants, sampled from a thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from benchmarks.sampling import sampled

SAMPLE_SECONDS = 0.05
LOOKING = 0.003
"""Share of a core that may go into looking at processes whose speed is measured meanwhile."""


@dataclass
class Peak:
    """The highest sum of resident bytes seen so far; `first` is the sum when sampling began."""

    first: int = 0
    bytes: int = 0

    @property
    def growth(self) -> int:
        """Peak above the start, in bytes."""
        return self.bytes - self.first


@contextmanager
def peak_memory(pid: int | None = None, looking: float = LOOKING) -> Iterator[Peak]:
    """Sample the process (default: this one) and all its descendants while the block runs.

    Proportional set size where the system tells it, so that pages shared with forked children count once. What a
    look costs grows with the memory looked at, so looks come as often as `looking` allows.
    """
    process, peak = psutil.Process(pid or os.getpid()), Peak()
    peak.first = peak.bytes = _tree_bytes(process)

    def look() -> None:
        peak.bytes = max(peak.bytes, _tree_bytes(process))

    with sampled(look, SAMPLE_SECONDS, looking):
        yield peak
    look()  # on a busy machine one look may be dear enough to last for the whole block


def _tree_bytes(process: psutil.Process) -> int:
    total = 0
    with suppress(psutil.Error):
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += getattr(each.memory_full_info(), "pss", 0) or each.memory_info().rss
    return total
