"""What DataLoader processes are at, told in shared memory: when one dies, its image is known."""

from __future__ import annotations

import time
from typing import Any

from maskmill_worker.model.sample import Key, Task


class InHand:
    """Which task each loader process reads, since when (monotonic seconds), in memory that outlives the process."""

    FIELDS = 3

    def __init__(self, context: Any, processes: int) -> None:
        self._table = context.RawArray("d", self.FIELDS * max(1, processes))

    def take(self, process: int, task: Task) -> None:
        """The process begins with a task. The time comes last: without it there is nothing in hand."""
        at = process * self.FIELDS
        self._table[at], self._table[at + 1] = task.key
        self._table[at + 2] = time.monotonic()

    def put_down(self, process: int) -> None:
        """The process is done with its task."""
        self._table[process * self.FIELDS + 2] = 0.0

    def of(self, process: int) -> tuple[Key, float] | None:
        """The task's key and the seconds that it has taken so far, or None."""
        shard, index, since = self._table[process * self.FIELDS : (process + 1) * self.FIELDS]
        return ((int(shard), int(index)), time.monotonic() - since) if since else None
