"""For benchmark I: a process with many simulated workers, each of which holds one shard, books it and claims the next.

The calls of all its workers go to the broker together, and their answers come back together.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.child import serve
from maskmill.broker.connection import connect
from maskmill.ledger.answers import Turn
from maskmill.ledger.claims import booking, claiming
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts

LEASE_SECONDS = 30.0
DONE = Counts(stored=128)


@dataclass
class Worker:
    """One simulated worker; `held` is the answer to its last claim: state, job, out, shard and so on."""

    name: str
    held: list[Any] = field(default_factory=list)

    @property
    def turn(self) -> Turn:
        """Its slice goes on, as it does in most claims of a real worker."""
        return Turn(self.held[1] if self.held else "", "demo", stay_with_other_model=True)


def work(url: str, queue: str, name: str, workers: int, warm_seconds: float, seconds: float) -> dict[str, float]:
    """Shards that were booked in `seconds`, after a warm-up."""
    crew = [Worker(f"{name}-{number}") for number in range(workers)]
    with connect(url).pipeline(transaction=False) as pipe:
        batch = Ledger(pipe, queue)
        _for(warm_seconds, batch, crew)
        started = time.perf_counter()
        booked = _for(seconds, batch, crew)
        return {"booked": booked, "seconds": time.perf_counter() - started}


def _for(seconds: float, batch: Ledger, crew: list[Worker]) -> int:
    booked, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        booked += _round(batch, crew)
    return booked


def _round(batch: Ledger, crew: list[Worker]) -> int:
    """Each worker books what it holds and claims again; how many were booked."""
    for worker in crew:
        if worker.held:
            batch.run("book", *booking(worker.held[1], worker.held[3], DONE, {}, {}, seconds=2.0))
        batch.run("claim_next", *claiming(worker.name, LEASE_SECONDS, worker.turn))
    answers = iter(batch.redis.execute())
    booked = 0
    for worker in crew:
        if worker.held:
            booked += next(answers)
        state, *rest = next(answers)
        worker.held = [state, *rest] if rest else []
    return booked


if __name__ == "__main__":
    serve({"ready": lambda: True, "work": work})
