"""The ledger under any interleaving, under races, and with owners that work on after their lease is over."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from maskmill.ledger.answers import Claim, ClaimState
from maskmill.ledger.ledger import Booking, Ledger, Renewal
from maskmill.schema import Counts
from maskmill.services import Services
from tests.chaos.form import LONG, counted, record
from tests.integration.ledger_machine import LedgerMachine
from tests.integration.ledger_truth import IMAGES, SHARDS

pytestmark = pytest.mark.timeout(900 if LONG else 60)

EXAMPLES = 400 if LONG else 60
STEPS = 60
ROUNDS = 1_000 if LONG else 200
WORKERS = 10
JOB = "20261122-205301-9f86d081"
LEASE = 30.0
SHORT = 0.03


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of a shard for each round."""
    services.ledger.create(JOB, "s3://bucket/out", images=10 * ROUNDS, shards=ROUNDS, created_seconds=1.0)
    return services.ledger


def test_any_interleaving_keeps_the_ledger_true(services: Services) -> None:
    class OfThisTest(LedgerMachine):
        ledger = services.ledger
        ended: ClassVar[list[Counts]] = []

    bounded = hypothesis_settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.reuse, Phase.generate, Phase.shrink),  # explaining takes longer than finding
        print_blob=True,
    )
    run_state_machine_as_test(OfThisTest, settings=bounded)
    counts = OfThisTest.ended
    stored, failed = sum(each.stored for each in counts), sum(each.failed for each in counts)
    every = Counts(stored=stored, failed=failed)
    record(counted("ledger: any interleaving", len(counts), len(counts) * SHARDS * IMAGES, every))


def race(ledger: Ledger, before: Barrier, worker: int) -> list[Claim]:
    """What one worker is told that claims every shard at the same moment as all others."""
    answers = []
    for shard in range(ROUNDS):
        before.wait()
        answers.append(ledger.claim(JOB, shard, f"worker-{worker}", LEASE))
    return answers


def test_of_ten_workers_that_claim_one_shard_one_wins_in_every_round(ledger: Ledger) -> None:
    before = Barrier(WORKERS)

    with ThreadPoolExecutor(WORKERS) as pool:
        by_worker = list(pool.map(lambda worker: race(ledger, before, worker), range(WORKERS)))

    for answers in zip(*by_worker, strict=True):
        states = Counter(answer.state for answer in answers)
        assert states == {ClaimState.CLAIMED: 1, ClaimState.HELD: WORKERS - 1}
    assert ledger.progress(JOB).claimed == ROUNDS
    for shard in range(ROUNDS):
        assert ledger.commit(JOB, shard, Counts(stored=10), {}) is Booking.BOOKED
    record(counted("ledger: ten workers claim one shard", ROUNDS, 10 * ROUNDS, ledger.progress(JOB).decided))


def test_of_ten_workers_that_ask_for_the_next_shard_none_gets_another_s(ledger: Ledger) -> None:
    def take_all(worker: int) -> list[int]:
        won = []
        while answer := ledger.next(JOB, f"worker-{worker}", LEASE):
            won.append(answer.shard)
        return won

    with ThreadPoolExecutor(WORKERS) as pool:
        by_worker = list(pool.map(take_all, range(WORKERS)))

    assert sorted(shard for won in by_worker for shard in won) == list(range(ROUNDS))


def test_a_shard_whose_lease_expires_while_its_owner_works_counts_once(ledger: Ledger) -> None:
    """Old owner and new one commit at the same moment; the shard is booked once, in whatever order."""
    times = ROUNDS // (4 if LONG else 20)
    with ThreadPoolExecutor(2) as pool:
        for shard in range(times):
            assert ledger.claim(JOB, shard, "old", SHORT)
            time.sleep(SHORT + 0.01)
            assert ledger.claim(JOB, shard, "new", LEASE).attempt == 2
            assert ledger.renew(JOB, shard, "old", LEASE) is Renewal.LOST
            before = Barrier(2)

            def commit(failed: int, shard: int = shard, before: Barrier = before) -> Booking:
                before.wait()
                return ledger.commit(JOB, shard, Counts(stored=10 - failed, failed=failed), {"timeout": failed})

            assert sorted(pool.map(commit, (1, 2))) == [Booking.IGNORED, Booking.BOOKED]
            assert ledger.claim(JOB, shard, "old", LEASE).state is ClaimState.DONE

    progress = ledger.progress(JOB)
    assert (progress.shards_done, progress.decided.total) == (times, 10 * times)
    assert progress.decided.failed == progress.failures["timeout"]
    assert progress.claimed == 0
    record(counted("ledger: a lease expires while its owner works", times, 10 * times, progress.decided))


def test_of_ten_workers_whose_leases_are_over_at_once_one_commit_counts(ledger: Ledger) -> None:
    """They all win every other shard, one after the other, and work on."""
    before = Barrier(WORKERS)

    def work(worker: int) -> int:
        booked = 0
        for shard in range(ROUNDS):
            before.wait()
            if ledger.claim(JOB, shard, f"worker-{worker}", 0.001 if shard % 2 else LEASE):
                booked += ledger.commit(JOB, shard, Counts(stored=10), {}) is Booking.BOOKED
        return booked

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(work, range(WORKERS))) == ROUNDS
    assert ledger.progress(JOB).counts == Counts(stored=10 * ROUNDS)
    decided = ledger.progress(JOB).decided
    record(counted("ledger: ten workers win one shard in turn and all commit", ROUNDS, 10 * ROUNDS, decided))
