"""Whose turn it is when several jobs are open: the highest priority's, and among equals the job with fewest workers."""

from __future__ import annotations

import time

from maskmill.ledger.ledger import Ledger

from maskmill.ledger.answers import Load

SLICE_SECONDS = 3.0
"""How long a worker stays with its job while another has as few workers: changing costs a model and its processes."""


class Turns:
    """The turns of one worker, which takes its next shard from the job that `next` names."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._job: str | None = None
        self._since = 0.0

    def next(self, current: str | None = None) -> Load | None:
        """The job to take a shard of; None when no job has one. `current` is the job that this worker is at."""
        loads = self.ledger.loads()
        if not loads:
            return None
        chosen = choose(loads, current, self._job, stay=time.monotonic() < self._since + SLICE_SECONDS)
        if chosen.job != self._job:
            self._job, self._since = chosen.job, time.monotonic()
        return chosen


def choose(loads: list[Load], current: str | None, last: str | None, *, stay: bool) -> Load:
    """One of the jobs (oldest first, at least one); `stay` settles a draw for the last one chosen, else against it.

    One of the current job's shards is this worker's, which does not count.
    """
    highest = max(load.priority for load in loads)

    def others(load: Load) -> tuple[int, bool]:
        mine = load.job == current
        return max(0, load.claimed - mine), (load.job == last) is not stay

    return min((load for load in loads if load.priority == highest), key=others)
