"""How long a worker stays with its job."""

from __future__ import annotations

import pytest

from maskmill_worker.shards import scheduler
from maskmill_worker.shards.scheduler import Pace, Scheduler
from tests.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scheduler, "time", clock)
    return clock


def test_a_slice_is_long_against_the_time_that_its_model_took(clock: Clock) -> None:
    slices = Scheduler()
    slices.begin("a", "model", loading_seconds=2.0)
    answers = {}
    for seconds in (0, 0.9, 1.1, 19.9, 20.1):
        clock.now = 1000.0 + seconds
        turn = slices.turn()
        answers[seconds] = turn.stay_with_same_model, turn.stay_with_other_model
    assert answers == {
        0: (True, True),
        0.9: (True, True),
        1.1: (False, True),
        19.9: (False, True),
        20.1: (False, False),
    }


def test_the_next_shard_of_the_same_job_begins_no_new_slice(clock: Clock) -> None:
    slices = Scheduler()
    slices.begin("a", "model", 0.0)
    clock.now += 4
    slices.begin("a", "model", 0.0)
    assert not slices.turn().stay_with_same_model
    slices.begin("b", "model", 0.0)
    assert slices.turn(only_this_job=True).stay_with_same_model
    assert (slices.turn().job, slices.turn().only_this_job) == ("b", False)


def test_a_model_that_is_kept_keeps_what_its_loading_took(clock: Clock) -> None:
    slices = Scheduler()
    slices.begin("a", "model", 5.0)
    slices.begin("b", "model", 0.0)
    clock.now += 49
    assert slices.turn().stay_with_other_model


def test_asking_changes_nothing(clock: Clock) -> None:
    slices = Scheduler()
    slices.begin("a", "model", 1.0)
    clock.now += 5
    assert slices.turn() == slices.turn() == slices.turn()


def test_a_slow_model_claims_no_further_ahead_than_it_can_do_soon(clock: Clock) -> None:
    pace = Pace()
    assert pace.has_time(1000, at_least=8), "nothing is known yet"
    with pace.measure(4):
        clock.now += 4 * 0.25
    assert pace.has_time(7, at_least=1)
    assert not pace.has_time(8, at_least=1)
    assert pace.has_time(7, at_least=8)
