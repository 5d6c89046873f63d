"""Small jobs for the ledger's tests."""

from __future__ import annotations

import time
from typing import Any

from maskmill.ledger.answers import ClaimReply
from maskmill.ledger.ledger import Ledger
from maskmill.schema import FailureExample

JOB = "20261122-205301-9f86d081"
OUT = "s3://bucket/out"
LEASE = 30.0
INSTANT = 0.001
"""A lease that is over by the next call, after `expire()`."""


def create(ledger: Ledger, job: str = JOB, shards: int = 4, **more: Any) -> None:
    """A job of ten images a shard; ids begin with a date, which is when it was created."""
    given = {"model": "demo", "images": 10 * shards, "shards": shards, "created_seconds": float(job[:8])}
    ledger.create(job, OUT, **given | more)


def won(reply: ClaimReply) -> tuple[int, int] | None:
    """Shard and attempt."""
    return (reply.shard, reply.attempt) if reply else None


def expire() -> None:
    time.sleep(0.005)


def failed(**codes: int) -> dict[str, tuple[int, FailureExample]]:
    """Failures as a booking has them: failed(timeout=2)."""
    return {code: (number, FailureExample(uri=f"{code}.jpg", reason=f"why {code}")) for code, number in codes.items()}


def keys(ledger: Ledger) -> set[str]:
    """What the queue has in the broker, but for the clock."""
    return set(ledger.redis.scan_iter(f"{ledger.prefix}:*")) - {ledger.key("clock")}
