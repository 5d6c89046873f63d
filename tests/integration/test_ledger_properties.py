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

from maskmill.ledger.answers import Booking, ClaimState, Renewal
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts
from maskmill.services import Services
from tests.chaos.form import LONG, counted, record
from tests.integration.ledger_jobs import JOB, LEASE, create, failed
from tests.integration.ledger_machine import LedgerMachine
from tests.integration.ledger_truth import IMAGES, SHARDS

pytestmark = pytest.mark.timeout(1800 if LONG else 900)

EXAMPLES = 400 if LONG else 60
STEPS = 60
ROUNDS = 1_000 if LONG else 200
WORKERS = 10
SHORT = 0.03


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of a shard for each round."""
    create(services.ledger, shards=ROUNDS)
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
    stored, failures = sum(each.stored for each in counts), sum(each.failed for each in counts)
    every = Counts(stored=stored, failed=failures)
    record(counted("ledger: any interleaving", len(counts), len(counts) * SHARDS * IMAGES, every))


def test_of_ten_workers_that_ask_for_shards_none_gets_another_s(ledger: Ledger) -> None:
    before = Barrier(WORKERS)

    def take_all(worker: int) -> list[int]:
        before.wait()
        won = []
        while reply := ledger.claim_next(f"worker-{worker}", LEASE):
            won.append(reply.shard)
        return won

    with ThreadPoolExecutor(WORKERS) as pool:
        by_worker = list(pool.map(take_all, range(WORKERS)))

    assert sorted(shard for won in by_worker for shard in won) == list(range(ROUNDS))
    assert ledger.progress(JOB).claimed == ROUNDS
    for shard in range(ROUNDS):
        assert ledger.book(JOB, shard, Counts(stored=10), {}) is Booking.BOOKED
    record(counted("ledger: ten workers ask for shards", ROUNDS, 10 * ROUNDS, ledger.progress(JOB).decided))


def test_of_ten_workers_that_ask_for_an_abandoned_shard_one_wins(ledger: Ledger) -> None:
    before = Barrier(WORKERS)
    ledger.cancel(JOB)

    def race(worker: int) -> list[ClaimState]:
        answers = []
        for shard in range(ROUNDS):
            before.wait()
            answers.append(ledger.claim_abandoned(JOB, shard, f"worker-{worker}", LEASE).state)
        return answers

    with ThreadPoolExecutor(WORKERS) as pool:
        by_worker = list(pool.map(race, range(WORKERS)))

    for states in zip(*by_worker, strict=True):
        assert Counter(states) == {ClaimState.CLAIMED: 1, ClaimState.HELD: WORKERS - 1}


def test_a_shard_whose_lease_expires_while_its_owner_works_counts_once(ledger: Ledger) -> None:
    """Old owner and new one book at the same moment; the shard is booked once, in whatever order."""
    times = ROUNDS // (4 if LONG else 20)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(times):
            shard = ledger.claim_next("old", SHORT).shard
            time.sleep(SHORT + 0.01)
            reply = ledger.claim_next("new", LEASE)
            assert (reply.shard, reply.attempt) == (shard, 2)
            assert ledger.renew(JOB, [shard], "old", LEASE) == {shard: Renewal.LOST}
            before = Barrier(2)

            def book(number: int, shard: int = shard, before: Barrier = before) -> Booking:
                before.wait()
                return ledger.book(JOB, shard, Counts(stored=10 - number, failed=number), failed(timeout=number))

            assert sorted(pool.map(book, (1, 2))) == [Booking.IGNORED, Booking.BOOKED]

    progress = ledger.progress(JOB)
    assert (progress.shards_done, progress.decided.total) == (times, 10 * times)
    assert progress.decided.failed == progress.failures["timeout"]
    assert progress.claimed == 0
    record(counted("ledger: a lease expires while its owner works", times, 10 * times, progress.decided))


def test_of_ten_workers_whose_leases_are_over_at_once_one_booking_counts(ledger: Ledger) -> None:
    """They win the same shards, one after the other, and work on."""
    before = Barrier(WORKERS)

    def work(worker: int) -> int:
        booked = 0
        for turn in range(ROUNDS):
            before.wait()
            if reply := ledger.claim_next(f"worker-{worker}", 0.001 if turn % 2 else LEASE):
                booked += ledger.book(JOB, reply.shard, Counts(stored=10), {}) is Booking.BOOKED
        return booked

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(work, range(WORKERS))) == ROUNDS
    assert ledger.progress(JOB).counts == Counts(stored=10 * ROUNDS)
    decided = ledger.progress(JOB).decided
    record(counted("ledger: ten workers win shards in turn and all book", ROUNDS, 10 * ROUNDS, decided))
