"""Workers in made-up time that claim from a real ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from maskmill.ledger.answers import NO_TURN, ClaimReply, ClaimState, Turn
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts

FOREVER = 3600.0


@dataclass
class Worker:
    """One that is always at one shard, and asks for the next when that is done."""

    name: str
    free_at: float = 0.0
    at: ClaimReply = field(default_factory=lambda: ClaimReply(ClaimState.NONE))
    since: float = 0.0
    """When it came to the job that it is at."""


@dataclass
class Fleet:
    """Workers in made-up time, whose shards take what their job's shards take."""

    ledger: Ledger
    shard_seconds: dict[str, float]
    workers: list[Worker]
    turn: Callable[[Worker], Turn] = lambda _: NO_TURN
    now: float = 0.0
    spent: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    changes: int = 0
    """How often a worker went from one job to another."""

    def step(self) -> ClaimReply:
        """The worker that is free next books what it has and asks for another shard."""
        worker = min(self.workers, key=lambda worker: worker.free_at)
        self.now = worker.free_at
        if worker.at:
            self.finish(worker)
        reply = self.ledger.claim_next(worker.name, FOREVER, self.turn(worker))
        if reply.job != worker.at.job:
            worker.since = self.now
            self.changes += 1
        if reply:
            self.order.append(reply.job)
        worker.at = reply
        worker.free_at += self.shard_seconds[reply.job] if reply else 1.0
        return reply

    def finish(self, worker: Worker) -> None:
        took = self.shard_seconds[worker.at.job]
        self.spent[worker.at.job] += took
        self.ledger.book(worker.at.job, worker.at.shard, Counts(stored=10), {}, seconds=took)

    def run(self, until: float) -> None:
        while min(worker.free_at for worker in self.workers) < until:
            self.step()


def fleet(ledger: Ledger, shard_seconds: dict[str, float], workers: int = 1, **more: Any) -> Fleet:
    return Fleet(ledger, shard_seconds, [Worker(f"w{number}") for number in range(workers)], **more)
