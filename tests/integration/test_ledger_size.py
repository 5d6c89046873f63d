"""Jobs of millions of shards in a real Valkey."""

from __future__ import annotations

import pytest

from maskmill.ledger.answers import Renewal
from maskmill.schema import Counts
from maskmill.services import Services
from tests.conftest import wait_for
from tests.integration.ledger_jobs import JOB, LEASE, OUT, create, won

LAST = 2**31 - 1
"""The last shard that a job can have."""


@pytest.mark.parametrize("first", [1_000_000, 1_234_567, 99_999_999, LAST - 1])
def test_shards_with_many_digits_keep_all_of_them(services: Services, first: int) -> None:
    """No `1e+06` on the way: two shards at the end of a job whose others are done."""
    ledger = services.ledger
    create(ledger, shards=first + 2)
    meta = ledger.key(JOB, "meta")
    ledger.redis.hset(meta, mapping={"next": first, "shards_done": first})
    assert [won(ledger.claim_next("a", 2)), won(ledger.claim_next("a", LEASE))] == [(first, 1), (first + 1, 1)]
    wait_for(lambda: ledger.claimable(10) == 1, lambda: "the first lease is not over")
    assert won(ledger.claim_next("b", LEASE)) == (first, 2)
    assert ledger.renew(JOB, [first, first + 1], "b", LEASE) == {first: Renewal.RENEWED, first + 1: Renewal.LOST}
    assert ledger.release(JOB, first, "b")
    assert won(ledger.claim_next("c", LEASE)) == (first, 3)
    assert ledger.begun(JOB) == [first, first + 1]
    ledger.book(JOB, first + 1, Counts(stored=10), {})
    ledger.book(JOB, first, Counts(stored=10), {})
    assert ledger.closing() == [JOB]
    assert ledger.redis.getbit(ledger.key(JOB, "done"), first) == 1
    ledger.forget(JOB)


def test_a_long_run_of_done_shards_is_skipped_at_once(services: Services) -> None:
    ledger = services.ledger
    shards = 2_000_003
    create(ledger, shards=shards)
    done = bytearray(b"\xff" * (shards // 8 + 1))
    done[100], done[-1] = 0b11101111, 0b11000000  # shard 803 is open, and 2,000,002, the last
    ledger.rebuild(
        JOB,
        OUT,
        model="demo",
        images=shards,
        shards=shards,
        created_seconds=1.0,
        priority=0,
        max_failures=None,
        retry_round=0,
        done=bytes(done),
        counts=Counts(stored=shards - 2),
        failures={},
    )
    assert ledger.progress(JOB).shards_done == shards - 2
    assert [won(ledger.claim_next("a", LEASE)) for _ in range(3)] == [(803, 1), (shards - 1, 1), None]
    ledger.forget(JOB)
