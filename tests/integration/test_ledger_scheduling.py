"""Whose shard is next: jobs share the workers' time, whatever a shard takes."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from maskmill.ledger.answers import NO_TURN, ClaimReply, ClaimState, Turn
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts
from maskmill.services import Services
from tests.integration.ledger_fleet import FOREVER, Worker, fleet
from tests.integration.ledger_jobs import create

BIG, SMALL, THIRD = "20261122-000000-0000000b", "20261123-000000-0000000a", "20261124-000000-0000000c"
MANY = 100_000


@pytest.fixture
def ledger(services: Services) -> Ledger:
    return services.ledger


@pytest.mark.parametrize("seconds", [0.01, 0.3, 1.0, 6.4, 30.0])
@pytest.mark.parametrize("workers", [1, 5])
def test_a_small_job_behind_a_big_one_gets_the_next_claim(ledger: Ledger, seconds: float, workers: int) -> None:
    """Whatever a shard takes, and however far the first guess of that was off."""
    create(ledger, BIG, MANY)
    many = fleet(ledger, {BIG: seconds, SMALL: seconds}, workers)
    for _ in range(4 * workers):
        many.step()
    create(ledger, SMALL, 2)
    assert many.step().job == SMALL


@pytest.mark.parametrize("seconds", [0.3, 1.0, 6.4, 30.0])
def test_a_small_job_s_shards_take_turns_with_a_big_one_s(ledger: Ledger, seconds: float) -> None:
    create(ledger, BIG, MANY)
    one = fleet(ledger, {BIG: seconds, SMALL: seconds})
    for _ in range(6):
        one.step()
    create(ledger, SMALL, 3)
    for _ in range(8):
        one.step()
    assert one.order[6:].index(SMALL) == 0
    assert one.order[6:12].count(SMALL) == 3


def test_small_jobs_that_come_together_go_in_their_order(ledger: Ledger) -> None:
    create(ledger, BIG, MANY)
    one = fleet(ledger, {BIG: 2.0, SMALL: 2.0, THIRD: 2.0})
    for _ in range(5):
        one.step()
    create(ledger, SMALL, 1)
    create(ledger, THIRD, 1)
    assert [one.step().job for _ in range(3)] == [SMALL, THIRD, BIG]


@pytest.mark.parametrize(("workers", "until"), [(1, 2_400.0), (2, 1_200.0), (7, 400.0)])
def test_jobs_of_very_different_shards_share_the_workers_time(ledger: Ledger, workers: int, until: float) -> None:
    """0.3, 3 and 30 seconds a shard: each gets a third of the time within a quarter of that."""
    shard_seconds = {BIG: 0.3, SMALL: 3.0, THIRD: 30.0}
    for job in shard_seconds:
        create(ledger, job, MANY)
    many = fleet(ledger, shard_seconds, workers)
    many.run(until)
    fair = sum(many.spent.values()) / 3
    assert {job for job in shard_seconds if 0.75 * fair < many.spent[job] < 1.25 * fair} == set(shard_seconds)


def test_a_job_whose_shards_get_slower_pays_for_them(ledger: Ledger) -> None:
    create(ledger, BIG, MANY)
    create(ledger, SMALL, MANY)
    two = fleet(ledger, {BIG: 0.5, SMALL: 0.5}, 2)
    two.run(100)
    two.shard_seconds[BIG] = 20.0
    two.spent.clear()
    two.run(2_100)
    assert 0.75 < two.spent[BIG] / two.spent[SMALL] < 1.25


def test_worker_time_that_was_given_back_is_charged_too(ledger: Ledger) -> None:
    """A job whose shards fail after 10 s each has used its share as well as one that books them."""
    create(ledger, BIG, MANY)
    create(ledger, SMALL, MANY)
    spent: Counter[str] = Counter()
    for _ in range(300):
        reply = ledger.claim_next("w", FOREVER)
        spent[reply.job] += 10
        if reply.job == BIG:
            ledger.release(BIG, reply.shard, "w", delay_seconds=FOREVER, seconds=10)
        else:
            ledger.book(SMALL, reply.shard, Counts(stored=10), {}, seconds=10)
    assert 0.75 < spent[BIG] / spent[SMALL] < 1.25


def test_a_shard_that_is_given_back_unused_costs_its_job_nothing(ledger: Ledger) -> None:
    create(ledger, BIG, MANY)
    before = ledger.redis.hget(ledger.key(BIG, "meta"), "vtime")
    reply = ledger.claim_next("w", FOREVER)
    assert ledger.redis.hget(ledger.key(BIG, "meta"), "vtime") != before
    ledger.release(BIG, reply.shard, "w")
    assert float(ledger.redis.hget(ledger.key(BIG, "meta"), "vtime")) == pytest.approx(float(before))


def test_a_job_that_gets_time_back_does_not_hold_up_new_ones(ledger: Ledger) -> None:
    """Its time is ahead of another's still: a new job starts at the one that is behind."""
    create(ledger, BIG, MANY)
    create(ledger, SMALL, MANY)
    one = fleet(ledger, {BIG: 20.0, SMALL: 20.0})
    one.run(200)
    replies = [ledger.claim_next("w", FOREVER) for _ in range(3)]
    ahead = next(reply for reply in replies if [one.job for one in replies].count(reply.job) == 2)
    ledger.release(ahead.job, ahead.shard, "w", delay_seconds=FOREVER, seconds=15.0)
    create(ledger, THIRD, 1)
    assert ledger.claim_next("w", FOREVER).job == THIRD


def test_new_jobs_that_never_cease_do_not_keep_an_old_one_from_its_turn(ledger: Ledger) -> None:
    """One worker, and each time that it asks there is a new job of one shard, which takes a second."""
    create(ledger, BIG, shards=1000)
    served = []
    for number in range(100):
        create(ledger, f"2026{number:04d}-000000-00000000", shards=1)
        reply = ledger.claim_next("w", FOREVER)
        ledger.book(reply.job, reply.shard, Counts(stored=1), {}, seconds=1.0)
        served.append(reply.job == BIG)
    assert 3 <= sum(served) <= 30, "and the new ones go first"


def test_a_job_that_was_idle_does_not_get_the_time_that_it_missed(ledger: Ledger) -> None:
    create(ledger, SMALL, 50)
    idle = [ledger.claim_next("elsewhere", FOREVER).shard for _ in range(50)]
    create(ledger, BIG, MANY)
    one = fleet(ledger, {BIG: 5.0, SMALL: 5.0})
    one.run(1_000)
    for shard in idle:
        ledger.release(SMALL, shard, "elsewhere")
    one.order.clear()
    one.run(1_200)
    assert 17 <= one.order.count(SMALL) <= 23, "half of 40 shards"


def test_a_higher_priority_goes_first_until_it_has_no_shard_left(ledger: Ledger) -> None:
    create(ledger, BIG, MANY)
    one = fleet(ledger, {BIG: 1.0, SMALL: 30.0, THIRD: 1.0})
    one.run(20)
    create(ledger, SMALL, 4, priority=1)
    create(ledger, THIRD, 4, priority=-100)
    assert [one.step().job for _ in range(7)] == [SMALL] * 4 + [BIG] * 3


def test_the_highest_priority_keeps_fractions_of_seconds(ledger: Ledger) -> None:
    for job in (BIG, SMALL):
        create(ledger, job, MANY, priority=100)
    one = fleet(ledger, {BIG: 0.05, SMALL: 0.05})
    one.run(10)
    assert 0.75 < one.spent[BIG] / one.spent[SMALL] < 1.25


# Slices


def at(job: str, **flags: bool) -> Turn:
    return Turn(job, f"model of {job}", **flags)


@pytest.fixture
def waiting(ledger: Ledger) -> Ledger:
    """The worker is at the big job, and it is the small one's turn, which has another model."""
    create(ledger, BIG, MANY, model=f"model of {BIG}")
    for _ in range(3):
        ledger.claim_next("w", FOREVER)
    create(ledger, SMALL, 2, model=f"model of {SMALL}")
    return ledger


def test_a_slice_goes_on_against_a_job_of_another_model_alone(waiting: Ledger) -> None:
    stays = at(BIG, stay_with_other_model=True)
    assert [waiting.claim_next("w", FOREVER, stays).job for _ in range(3)] == [BIG] * 3
    same = Turn(BIG, f"model of {SMALL}", stay_with_other_model=True)
    assert waiting.claim_next("w", FOREVER, same).job == SMALL


def test_a_slice_goes_on_against_a_job_of_the_same_model_alone(waiting: Ledger) -> None:
    stays = Turn(BIG, f"model of {SMALL}", stay_with_same_model=True)
    assert waiting.claim_next("w", FOREVER, stays).job == BIG
    assert waiting.claim_next("w", FOREVER, at(BIG, stay_with_same_model=True)).job == SMALL


def test_a_slice_ends_for_a_higher_priority(waiting: Ledger) -> None:
    create(waiting, THIRD, 1, priority=1)
    stays = at(BIG, stay_with_same_model=True, stay_with_other_model=True)
    assert [waiting.claim_next("w", FOREVER, stays).job for _ in range(2)] == [THIRD, BIG]


def test_a_slice_that_is_over_yields_without_a_change(waiting: Ledger) -> None:
    def everything() -> dict[str, Any]:
        keys = sorted(waiting.redis.scan_iter(f"{waiting.prefix}:*"))
        return {key: waiting.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}

    before = everything()
    for _ in range(3):
        assert waiting.claim_next("w", FOREVER, at(BIG, only_this_job=True)) == ClaimReply(ClaimState.YIELD)
    assert everything() == before
    assert waiting.claim_next("w", FOREVER).job == SMALL


def test_slices_that_are_long_against_loading_share_the_time_too(ledger: Ledger) -> None:
    """A worker stays 20 s with a job before it loads another model."""
    shard_seconds = {BIG: 0.7, SMALL: 4.0}
    for job in shard_seconds:
        create(ledger, job, MANY, model=f"model of {job}")

    def turn(worker: Worker) -> Turn:
        return at(worker.at.job, stay_with_other_model=one.now - worker.since < 20) if worker.at else NO_TURN

    one = fleet(ledger, shard_seconds, turn=turn)
    one.run(1_000)
    assert 0.75 < one.spent[BIG] / one.spent[SMALL] < 1.25
    assert 25 <= one.changes <= 51


# Jobs that are left to others


def test_who_leaves_jobs_to_others_gets_the_next_one_and_others_get_those(ledger: Ledger) -> None:
    for job in (BIG, SMALL, THIRD):
        create(ledger, job, 2)
    order = [ledger.claim_next("able", FOREVER).job for _ in range(3)]
    passing = [ledger.claim_next("old", FOREVER, NO_TURN, order[:2]) for _ in range(2)]
    assert [claim.job for claim in passing if claim] == [order[2]]
    assert passing[1].state is ClaimState.NONE
    assert {ledger.claim_next("able", FOREVER).job for _ in range(2)} == set(order[:2])


def test_a_job_that_is_left_to_others_keeps_none_from_coming_back(ledger: Ledger) -> None:
    """Its place is first, and the other's delay is over only when the list has been gone through."""
    create(ledger, BIG, 1)
    create(ledger, SMALL, 1)
    claim = ledger.claim_next("old", FOREVER, NO_TURN, [BIG])
    ledger.release(SMALL, claim.shard, "old", delay_seconds=0.001, counts=False)
    time.sleep(0.01)
    assert ledger.claim_next("old", FOREVER, NO_TURN, [BIG]).job == SMALL
