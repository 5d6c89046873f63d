"""Which image a loader process reads, told in memory that outlives the process."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

from maskmill_worker.model.sample import Key

BYTES = 24
"""Three 64-bit integers: shard, index, and whether they count."""


class InFlight:
    """The key of the image that one process reads; made before the process is forked, which then writes it.

    >>> with in_flight.reading((3, 17)):      # in the loader process
    ...     in_flight.key                     # in the worker, also once the process is dead
    (3, 17)
    """

    def __init__(self) -> None:
        self._fields = memoryview(mmap.mmap(-1, BYTES)).cast("q")

    @contextmanager
    def reading(self, key: Key) -> Iterator[None]:
        """The process reads this image within the block."""
        self._fields[0], self._fields[1] = key
        self._fields[2] = 1
        try:
            yield
        finally:
            self._fields[2] = 0

    @property
    def key(self) -> Key | None:
        """The image that is being read, or was when the process died."""
        return (self._fields[0], self._fields[1]) if self._fields[2] else None
