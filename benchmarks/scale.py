"""How much is measured: all of it, or so much that the whole takes a quarter of an hour (`--quick`)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Generic, TypeVar

QUICK = "BENCHMARKS_QUICK"
"""Set by `python -m benchmarks --quick` for all processes below it."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Extent(Generic[Value]):
    """A count, or a list of cases, at full size and in a quick run: `IMAGES = Extent(2_000, quick=200)`."""

    full: Value
    quick: Value

    @property
    def now(self) -> Value:
        """That of this run; a process asks when it measures, not when it is imported."""
        return self.quick if is_quick() else self.full


def is_quick() -> bool:
    """Whether this process belongs to a quick run."""
    return os.environ.get(QUICK) == "1"


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)
