"""A job's ledger built anew from the bucket: beside the old one, and switched by one script."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from maskmill.ledger.answers import LedgerState
from maskmill.ledger.claims import amounts_of, examples_of
from maskmill.ledger.jobs import fields_of
from maskmill.ledger.table import Table
from maskmill.schema import ByCode, Counts

BESIDE_SECONDS = 600
"""How long a ledger that was built beside waits to be switched to; a crash leaves it to expire."""


class Rebuilding(Table):
    """What is left of a job after the broker lost something, and how it is made whole."""

    def inspect(self, job: str) -> LedgerState | None:
        """What the ledger holds of the job; None when it knows nothing of it."""
        while found := self.run("inspect", job):
            with self.errors():
                done = self.redis.execute_command("GET", self.key(job, "done"), NEVER_DECODE=True) or b""
            if found[0] == (self.run("inspect", job) or [None])[0]:  # else a new round began in between
                return LedgerState(found[0], done, bool(found[1]))
        return None

    def rebuild(
        self,
        job: str,
        out: str,
        *,
        model: str,
        images: int,
        shards: int,
        created_seconds: float,
        priority: int,
        max_failures: int | None,
        retry_round: int,
        left_out: Mapping[str, int] | None = None,
        cancelled: bool = False,
        done: bytes,
        counts: Counts,
        failures: ByCode,
        warnings: ByCode | None = None,
    ) -> None:
        """Replace what the ledger has of the job by what the bucket says; counts and codes are of `done` shards.

        In the same round leases, owners, attempts, excuses, notes and delays of shards that are not done stay. The
        ledger never goes back to an earlier round. A shard that is booked meanwhile is claimed and booked again.
        """
        token = secrets.token_hex(8)
        fields = fields_of(out, model, images, shards, priority, max_failures, retry_round, left_out or {})
        fields |= {"halted": 1} if cancelled else {}
        fields |= dict(amounts_of(counts, failures, warnings or {}))
        fields |= dict(examples_of(failures | (warnings or {})))
        with self.errors(), self.redis.pipeline() as pipe:
            beside = self.key(job, f"new:{token}:meta")
            pipe.hset(beside, mapping=fields).expire(beside, BESIDE_SECONDS)
            if done:
                pipe.set(self.key(job, f"new:{token}:done"), done, ex=BESIDE_SECONDS)
            pipe.execute()
        self.run("switch", job, token, created_seconds)
