"""`BENCH_SCALE`: shrink every benchmark for a trial run. A kept result is measured at 1."""

from __future__ import annotations

import os
import sys


def scaled(full: int, at_least: int = 1) -> int:
    """A count of the full-size benchmark times `BENCH_SCALE` (a float, 1 unless set)."""
    return max(at_least, round(full * float(os.environ.get("BENCH_SCALE", "1"))))


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)
