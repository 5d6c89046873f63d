"""The ledger: claims, leases, attempts, done bitmap and counters, in Redis, changed only by atomic scripts.

It is a cache of the bucket plus what is in flight. Its clock is the broker's (`TIME`), not the workers'.
"""

from __future__ import annotations

from maskmill.ledger.answers import Standing
from maskmill.ledger.claims import Claims
from maskmill.ledger.jobs import Jobs
from maskmill.ledger.rebuilding import Rebuilding
from maskmill.ledger.table import milliseconds

WORKER_SECONDS = 15.0
"""How long a worker counts as there after it was last heard of."""


class Ledger(Claims, Jobs, Rebuilding):
    """Atomic operations on the jobs of one queue. Every method raises `BrokerUnavailable` when it cannot act.

    Example: Ledger(connect("redis://localhost/0"), "maskmill").open_jobs()
    """

    def elect(self, owner: str, seconds: float, office: str = "reconciler") -> bool:
        """Whether `owner` alone holds the queue's office for the next `seconds`; ask again before they end."""
        return bool(self.run("elect", owner, milliseconds(seconds), office))

    def alive(self, worker: str, state: str = "idle") -> None:
        """Note that this worker is there, and what it does: `starting`, `idle`, `working`, `draining`, `deaf`."""
        self.run("alive", worker, milliseconds(WORKER_SECONDS), state)

    def left(self, worker: str) -> None:
        """Note that this worker is not there any more."""
        self.run("alive", worker, milliseconds(WORKER_SECONDS), "")

    def workers(self) -> int:
        """How many workers were there in the last `WORKER_SECONDS`."""
        return int(self.run("alive", "", milliseconds(WORKER_SECONDS), ""))

    def standing(self, job: str) -> Standing:
        """What keeps the job from going on, if anything does; a question."""
        leased, there, starting, paused, pause, *busy = self.run("standing", job, milliseconds(WORKER_SECONDS))
        return Standing(leased, there, starting, paused, pause / 1000, *busy)

    def queue_length(self, name: str) -> int:
        """Messages that wait in the Celery queue."""
        with self.errors():
            return int(self.redis.llen(name))
