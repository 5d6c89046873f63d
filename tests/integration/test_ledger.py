"""The ledger's scripts in a real Valkey."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from maskmill.errors import BrokerUnavailable, JobNotFound
from maskmill.ledger.answers import Claim, ClaimState, Progress
from maskmill.ledger.ledger import Booking, Ledger, Renewal, connect
from maskmill.schema import Counts
from maskmill.services import Services
from maskmill.settings import Settings

pytestmark = pytest.mark.timeout(60)

JOB = "20261122-205301-9f86d081"
OUT = "s3://bucket/out"
LEASE = 30.0
INSTANT = 0.001
"""A lease that is over by the next call, after `expire()`."""

WON, HELD = ClaimState.CLAIMED, ClaimState.HELD


def told(answer: Claim) -> tuple[ClaimState, int]:
    return answer.state, answer.attempt


def won(answer: Claim) -> tuple[int, int] | None:
    return (answer.shard, answer.attempt) if answer else None


def expire() -> None:
    time.sleep(0.005)


def create(ledger: Ledger, job: str = JOB, shards: int = 4) -> None:
    ledger.create(job, OUT, images=10 * shards, shards=shards, created_seconds=float(job[:8]))


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of four shards."""
    create(services.ledger)
    return services.ledger


# Claims


def test_a_free_shard_is_won(ledger: Ledger) -> None:
    assert told(ledger.claim(JOB, 0, "a", LEASE)) == (WON, 1)


def test_a_held_shard_is_refused_and_its_attempts_stay(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (HELD, 0)
    assert told(ledger.claim(JOB, 0, "a", LEASE)) == (HELD, 0)
    ledger.release(JOB, 0, "a")
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (WON, 2)


def test_an_expired_shard_goes_to_the_next_one_as_its_second_attempt(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    expire()
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (WON, 2)
    assert not ledger.renew(JOB, 0, "a", LEASE)
    assert not ledger.release(JOB, 0, "a")
    assert ledger.claim(JOB, 0, "c", LEASE).state is HELD


def test_a_committed_shard_is_done_for_everybody(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.commit(JOB, 0, Counts(stored=10), {})
    assert told(ledger.claim(JOB, 0, "a", LEASE)) == (ClaimState.DONE, 0)
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (ClaimState.DONE, 0)


def test_a_shard_of_an_unknown_job_is_not_won_and_leaves_nothing(ledger: Ledger) -> None:
    assert told(ledger.claim("20200101-000000-00000000", 0, "a", LEASE)) == (ClaimState.UNKNOWN, 0)
    assert not list(ledger.redis.scan_iter("*20200101-000000-00000000*"))


def test_a_shard_that_the_job_does_not_have_is_not_won(ledger: Ledger) -> None:
    assert ledger.claim(JOB, 4, "a", LEASE).state is not WON
    assert ledger.progress(JOB).claimed == 0


def test_of_twenty_threads_that_race_for_a_shard_exactly_one_wins(ledger: Ledger) -> None:
    barrier = Barrier(20)

    def race(shard: int, owner: int) -> ClaimState:
        barrier.wait()
        return ledger.claim(JOB, shard, f"owner-{owner}", LEASE).state

    with ThreadPoolExecutor(20) as pool:
        for shard in range(4):
            states = Counter(pool.map(lambda owner, shard=shard: race(shard, owner), range(20)))
            assert states == {WON: 1, HELD: 19}


def test_of_twenty_threads_that_race_for_an_expired_shard_exactly_one_wins(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "dead", INSTANT)
    expire()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda owner: ledger.claim(JOB, 0, f"owner-{owner}", LEASE), range(20)))
    assert [told(answer) for answer in answers if answer] == [(WON, 2)]


# Leases


def test_a_renewed_lease_does_not_expire(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", 1)
    for _ in range(3):
        time.sleep(0.4)
        assert ledger.renew(JOB, 0, "a", 1)
    assert ledger.claim(JOB, 0, "b", LEASE).state is HELD


def test_a_lease_that_is_not_renewed_lasts_as_long_as_asked(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", 0.5)
    assert ledger.claim(JOB, 0, "b", LEASE).state is HELD
    time.sleep(0.55)
    assert ledger.claim(JOB, 0, "b", LEASE).state is WON


def test_only_the_owner_renews_and_releases(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    assert not ledger.renew(JOB, 0, "b", LEASE)
    assert not ledger.release(JOB, 0, "b")
    assert not ledger.renew(JOB, 1, "a", LEASE)
    assert ledger.renew(JOB, 0, "a", LEASE)


def test_nothing_is_renewed_after_the_commit(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.commit(JOB, 0, Counts(stored=10), {})
    assert not ledger.renew(JOB, 0, "a", LEASE)
    assert not ledger.release(JOB, 0, "a")
    assert ledger.progress(JOB).queued == 0


# Giving back


@pytest.mark.parametrize(("counts", "attempt"), [(True, 2), (False, 1)])
def test_a_shard_that_is_given_back_is_free_and_its_attempt_may_be_forgiven(
    ledger: Ledger, counts: bool, attempt: int
) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    assert ledger.release(JOB, 0, "a", counts=counts)
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (WON, attempt)


def test_a_shard_that_is_given_back_is_announced_again_after_its_delay(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.release(JOB, 0, "a", delay_seconds=0.6)
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == []
    time.sleep(0.65)
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == [0]


# Commits


def test_a_commit_adds_its_counts_once(ledger: Ledger) -> None:
    assert ledger.commit(JOB, 0, Counts(stored=7, reused=1, failed=2), {"not_found": 2})
    assert not ledger.commit(JOB, 0, Counts(stored=10), {"timeout": 3})
    progress = ledger.progress(JOB)
    assert progress.counts == Counts(stored=7, reused=1, failed=2)
    assert progress.failures == {"not_found": 2}
    assert progress.shards_done == 1


def test_of_twenty_threads_that_commit_a_shard_one_counts(ledger: Ledger) -> None:
    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(lambda _: ledger.commit(JOB, 0, Counts(stored=10), {}), range(20)))
    assert first.count(Booking.BOOKED) == 1
    assert ledger.progress(JOB).counts == Counts(stored=10)


def test_a_commit_without_a_lease_counts_and_takes_the_claim_of_another(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    expire()
    ledger.claim(JOB, 0, "b", LEASE)
    assert ledger.commit(JOB, 0, Counts(stored=10), {})
    assert not ledger.renew(JOB, 0, "b", LEASE)
    assert ledger.progress(JOB).claimed == 0


def test_failures_of_all_shards_add_up_by_code(ledger: Ledger) -> None:
    ledger.commit(JOB, 0, Counts(failed=3), {"timeout": 1, "not_found": 2})
    ledger.commit(JOB, 1, Counts(failed=1, stored=9), {"not_found": 1})
    assert ledger.progress(JOB).failures == {"not_found": 3, "timeout": 1}


def test_a_job_is_finished_when_its_last_shard_is_committed(ledger: Ledger) -> None:
    for shard in range(4):
        assert not ledger.progress(JOB).finished
        ledger.commit(JOB, shard, Counts(stored=10), {})
    assert ledger.progress(JOB).finished
    assert ledger.done(JOB, [0, 1, 2, 3, 4]) == [True, True, True, True, False]


def test_a_commit_to_a_forgotten_job_leaves_nothing(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.forget([JOB])
    assert not ledger.commit(JOB, 0, Counts(stored=10), {})
    assert not ledger.renew(JOB, 0, "a", LEASE)
    assert not list(ledger.redis.scan_iter(f"{ledger._prefix}:*"))


# Admission


def work(ledger: Ledger, shard: int) -> None:
    """What a worker does with a message."""
    ledger.claim(JOB, shard, "a", LEASE)
    ledger.commit(JOB, shard, Counts(stored=10), {})


def test_admission_fills_the_window_and_goes_on_with_each_commit(ledger: Ledger) -> None:
    assert ledger.admit(JOB, 2, LEASE) == [0, 1]
    assert ledger.admit(JOB, 2, LEASE) == []
    work(ledger, 0)
    assert ledger.admit(JOB, 2, LEASE) == [2]
    work(ledger, 1)
    work(ledger, 2)
    assert ledger.admit(JOB, 2, LEASE) == [3]
    assert ledger.admit(JOB, 100, LEASE) == []


def test_no_more_messages_are_on_their_way_than_the_window_has_places(ledger: Ledger) -> None:
    assert ledger.admit(JOB, 2, LEASE) == [0, 1]
    assert won(ledger.next(JOB, "a", LEASE)) == (0, 1)
    assert ledger.admit(JOB, 2, LEASE) == [], "the message of shard 0 has not been heard"
    ledger.claim(JOB, 0, "b", LEASE)
    assert ledger.admit(JOB, 2, LEASE) == [2]


def test_lost_messages_are_counted_off_when_the_queue_is_shorter(ledger: Ledger) -> None:
    ledger.admit(JOB, 2, LEASE)
    ledger.next(JOB, "a", LEASE)
    ledger.next(JOB, "a", LEASE)
    assert ledger.reap(JOB, 10, LEASE, 99, 0) == []
    assert ledger.admit(JOB, 2, LEASE) == [2, 3]


def test_the_next_shard_is_an_announced_one_and_then_one_that_is_not(ledger: Ledger) -> None:
    ledger.admit(JOB, 2, LEASE)
    ledger.claim(JOB, 0, "b", LEASE)
    assert [won(ledger.next(JOB, "a", LEASE)) for _ in range(4)] == [(1, 1), (2, 1), (3, 1), None]
    assert told(ledger.claim(JOB, 2, "b", LEASE)) == (HELD, 0)


def test_the_next_shard_is_none_that_was_begun_or_done(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "b", LEASE)
    ledger.release(JOB, 0, "b", delay_seconds=LEASE)
    ledger.commit(JOB, 1, Counts(stored=10), {})
    assert [won(ledger.next(JOB, "a", LEASE)) for _ in range(3)] == [(2, 1), (3, 1), None]


def test_an_unknown_job_has_no_next_shard(ledger: Ledger) -> None:
    ledger.forget([JOB])
    assert ledger.next(JOB, "a", LEASE).state is ClaimState.NONE
    assert not list(ledger.redis.scan_iter(f"{ledger._prefix}:*"))


def test_of_twenty_threads_that_ask_for_the_next_shard_each_wins_another(ledger: Ledger) -> None:
    job = "20261123-000000-00000002"
    create(ledger, job, shards=15)
    ledger.admit(job, 5, LEASE)
    with ThreadPoolExecutor(20) as pool:
        answers = [each for each in pool.map(lambda n: ledger.next(job, f"w{n}", LEASE), range(20)) if each]
    assert sorted((each.shard, each.attempt) for each in answers) == [(shard, 1) for shard in range(15)]


def test_the_next_shard_may_be_one_whose_owner_is_gone_or_gave_it_up(ledger: Ledger) -> None:
    ledger.claim(JOB, 1, "dead", INSTANT)
    ledger.claim(JOB, 2, "b", LEASE)
    ledger.release(JOB, 2, "b")
    expire()
    *given_up, new = [won(ledger.next(JOB, "a", LEASE)) for _ in range(3)]
    assert set(given_up) == {(1, 2), (2, 2)}
    assert new == (0, 1)


def test_a_reaped_shard_is_the_next_one_at_once(ledger: Ledger) -> None:
    ledger.claim(JOB, 3, "dead", INSTANT)
    expire()
    ledger.reap(JOB, 10, LEASE, 99, 99)
    assert won(ledger.next(JOB, "a", LEASE)) == (3, 2)


def test_a_shard_that_waits_for_its_next_attempt_is_nobody_s_until_then(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.release(JOB, 0, "a", delay_seconds=0.6)
    assert ledger.claim(JOB, 0, "b", LEASE).state is HELD
    assert won(ledger.next(JOB, "b", LEASE)) == (1, 1)
    time.sleep(0.65)
    assert won(ledger.next(JOB, "b", LEASE)) == (0, 2)


# Loads


def test_a_job_is_a_load_while_it_has_a_shard_that_nobody_has(ledger: Ledger) -> None:
    create(ledger, other := "20261123-000000-00000003", shards=1)
    assert [(load.job, load.claimed) for load in ledger.loads()] == [(JOB, 0), (other, 0)]
    ledger.next(JOB, "a", LEASE)
    ledger.next(other, "a", LEASE)
    assert [(load.job, load.claimed) for load in ledger.loads()] == [(JOB, 1)]
    ledger.release(other, 0, "a")
    assert [(load.job, load.claimed) for load in ledger.loads()] == [(JOB, 1), (other, 0)]


def test_a_cancelled_job_is_no_load(ledger: Ledger) -> None:
    ledger.cancel(JOB)
    assert ledger.loads() == []


def test_a_load_has_its_job_s_priority(ledger: Ledger) -> None:
    ledger.create("20261123-000000-00000004", OUT, images=1, shards=1, created_seconds=1.0, priority=7)
    assert [load.priority for load in ledger.loads()] == [0, 7]


def test_workers_count_while_they_are_heard_of(ledger: Ledger) -> None:
    assert ledger.workers() == 0
    for worker in ("a", "b", "a"):
        ledger.alive(worker)
    assert ledger.workers() == 2


# Notes


def test_a_note_is_for_the_next_owner(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    ledger.note(JOB, "a", {0: "seen", 1: "not mine"})
    expire()
    assert ledger.next(JOB, "b", LEASE).note == "seen"
    assert ledger.next(JOB, "b", LEASE).note == ""


def test_only_the_owner_notes_and_a_commit_ends_the_note(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    expire()
    ledger.claim(JOB, 0, "b", LEASE)
    ledger.note(JOB, "a", {0: "too late"})
    ledger.note(JOB, "b", {0: "mine"})
    ledger.release(JOB, 0, "b")
    assert ledger.claim(JOB, 0, "c", LEASE).note == "mine"
    ledger.note(JOB, "c", {0: ""})
    ledger.release(JOB, 0, "c")
    assert ledger.claim(JOB, 0, "d", LEASE).note == ""


# Cancelled jobs


def test_nobody_begins_a_shard_of_a_cancelled_job(ledger: Ledger) -> None:
    ledger.admit(JOB, 2, LEASE)
    ledger.cancel(JOB)
    assert ledger.claim(JOB, 0, "a", LEASE).state is ClaimState.CANCELLED
    assert ledger.next(JOB, "a", LEASE).state is ClaimState.CANCELLED
    assert ledger.admit(JOB, 4, LEASE) == ledger.reap(JOB, 4, LEASE, 99, 99) == []


def test_who_has_a_shard_hears_that_the_job_is_cancelled_and_may_commit(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    assert ledger.renew(JOB, 0, "a", LEASE) is Renewal.RENEWED
    ledger.cancel(JOB)
    assert ledger.renew(JOB, 0, "a", LEASE) is Renewal.CANCELLED
    assert not ledger.progress(JOB).finished
    assert ledger.commit(JOB, 0, Counts(stored=4, cancelled=6), {}) is Booking.BOOKED
    progress = ledger.progress(JOB)
    assert progress.finished
    assert progress.counts == Counts(stored=4, cancelled=36)


def test_an_abandoned_shard_of_a_cancelled_job_may_be_settled(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "dead", INSTANT)
    ledger.claim(JOB, 1, "alive", LEASE)
    ledger.claim(JOB, 2, "gave up", LEASE)
    ledger.release(JOB, 2, "gave up", delay_seconds=LEASE)
    expire()
    ledger.cancel(JOB)
    assert ledger.begun(JOB) == [0, 1, 2]
    assert [ledger.claim(JOB, shard, "s", LEASE, settle=True).state for shard in range(3)] == [WON, HELD, WON]


def test_too_many_failures_cancel_the_job(ledger: Ledger) -> None:
    ledger.create(job := "20261123-000000-00000005", OUT, images=40, shards=4, created_seconds=1.0, max_failures=3)
    assert ledger.commit(job, 0, Counts(stored=7, failed=3), {"timeout": 3}) is Booking.BOOKED
    assert not ledger.progress(job).cancelled
    assert ledger.commit(job, 1, Counts(stored=9, failed=1), {"timeout": 1}) is Booking.OVER_BUDGET
    assert ledger.progress(job).finished
    assert ledger.progress(job).counts == Counts(stored=16, failed=4, cancelled=20)


def test_a_commit_of_an_earlier_round_is_ignored(ledger: Ledger) -> None:
    ledger.create(job := "20261123-000000-00000006", OUT, images=10, shards=1, created_seconds=1.0, round=2)
    assert ledger.next(job, "a", LEASE).round == 2
    assert ledger.commit(job, 0, Counts(stored=10), {}, round=1) is Booking.IGNORED
    assert ledger.commit(job, 0, Counts(stored=10), {}, round=2) is Booking.BOOKED


def test_claimed_shards_leave_their_place_in_the_window_so_that_any_number_of_workers_is_fed(ledger: Ledger) -> None:
    assert ledger.admit(JOB, 1, LEASE) == [0]
    ledger.claim(JOB, 0, "a", LEASE)
    assert ledger.admit(JOB, 1, LEASE) == [1]
    assert ledger.admit(JOB, 1, LEASE) == []


def test_a_full_queue_holds_back_unheard_announcements_but_not_lost_claims(ledger: Ledger) -> None:
    ledger.admit(JOB, 2, 0.001)
    ledger.claim(JOB, 0, "a", 0.001)
    time.sleep(0.05)
    assert ledger.reap(JOB, 10, LEASE, 0, 99) == [0]
    assert ledger.reap(JOB, 10, LEASE, 1, 99) == [1]


def test_admission_leaves_out_what_is_done_or_claimed_already(ledger: Ledger) -> None:
    ledger.commit(JOB, 0, Counts(stored=10), {})
    ledger.claim(JOB, 2, "a", LEASE)
    assert ledger.admit(JOB, 10, LEASE) == [1, 3]


def test_a_given_back_shard_keeps_its_place_in_the_window(ledger: Ledger) -> None:
    ledger.admit(JOB, 1, LEASE)
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.release(JOB, 0, "a", delay_seconds=LEASE)
    assert ledger.admit(JOB, 1, LEASE) == []


def test_of_twenty_threads_that_admit_none_announces_a_shard_of_another(ledger: Ledger) -> None:
    job = "20261123-000000-00000001"
    create(ledger, job, shards=100)
    with ThreadPoolExecutor(20) as pool:
        admitted = [shard for shards in pool.map(lambda _: ledger.admit(job, 30, LEASE), range(20)) for shard in shards]
    assert sorted(admitted) == list(range(30))


def test_nothing_of_an_unknown_job_is_admitted_or_reaped(ledger: Ledger) -> None:
    ledger.forget([JOB])
    assert ledger.admit(JOB, 10, LEASE) == ledger.reap(JOB, 10, LEASE, 99, 99) == []
    assert not list(ledger.redis.scan_iter(f"{ledger._prefix}:*"))


# Reaping


def test_a_lost_announcement_is_made_again_once_its_time_is_over(ledger: Ledger) -> None:
    ledger.admit(JOB, 2, INSTANT)
    expire()
    assert sorted(ledger.reap(JOB, 10, LEASE, 99, 99)) == [0, 1]
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == []


def test_an_expired_lease_is_reaped_and_its_owner_has_lost_the_shard(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    ledger.claim(JOB, 1, "b", LEASE)
    expire()
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == [0]
    assert not ledger.renew(JOB, 0, "a", LEASE)
    assert told(ledger.claim(JOB, 0, "c", LEASE)) == (WON, 2)
    assert ledger.progress(JOB).claimed == 2


def test_reaping_stops_at_its_limit(ledger: Ledger) -> None:
    ledger.admit(JOB, 4, INSTANT)
    expire()
    assert len(ledger.reap(JOB, 3, LEASE, 99, 99)) == 3
    assert len(ledger.reap(JOB, 3, LEASE, 99, 99)) == 1


def test_a_committed_shard_is_never_reaped(ledger: Ledger) -> None:
    ledger.admit(JOB, 1, INSTANT)
    ledger.claim(JOB, 0, "a", INSTANT)
    ledger.commit(JOB, 0, Counts(stored=10), {})
    expire()
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == []


# Jobs


def test_creating_a_job_again_changes_nothing(ledger: Ledger) -> None:
    ledger.commit(JOB, 0, Counts(stored=10), {})
    before = ledger.progress(JOB)
    ledger.create(JOB, "s3://other/out", images=1, shards=1, created_seconds=1.0)
    assert ledger.progress(JOB) == before


def test_a_new_job_has_its_counters_at_0(ledger: Ledger) -> None:
    assert ledger.progress(JOB) == Progress(
        job=JOB,
        out=OUT,
        images=40,
        shards=4,
        shards_done=0,
        claimed=0,
        queued=0,
        begun=0,
        cancelled=False,
        round=0,
        decided=Counts(),
        failures={},
    )


def test_progress_tells_claimed_from_queued(ledger: Ledger) -> None:
    ledger.admit(JOB, 3, LEASE)
    ledger.claim(JOB, 1, "a", LEASE)
    progress = ledger.progress(JOB)
    assert (progress.claimed, progress.queued) == (1, 2)


def test_an_unknown_job_is_said_so(ledger: Ledger) -> None:
    for ask in (ledger.progress, ledger.out):
        with pytest.raises(JobNotFound, match="20200101"):
            ask("20200101-000000-00000000")


def test_jobs_are_listed_newest_first_and_open_ones_oldest_first(ledger: Ledger) -> None:
    older, newer = "20251231-000000-00000001", "20261231-000000-00000002"
    create(ledger, newer)
    create(ledger, older)
    assert ledger.jobs() == [newer, JOB, older]
    assert ledger.jobs(newest=1) == [newer]
    assert ledger.open_jobs() == [older, JOB, newer]


def test_a_closed_job_is_no_longer_open_but_keeps_its_counters(ledger: Ledger) -> None:
    ledger.commit(JOB, 0, Counts(stored=10), {})
    ledger.close(JOB)
    assert ledger.open_jobs() == []
    assert ledger.jobs() == [JOB]
    assert ledger.progress(JOB).counts == Counts(stored=10)


def test_a_forgotten_job_leaves_nothing(ledger: Ledger) -> None:
    ledger.admit(JOB, 4, LEASE)
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.claim(JOB, 1, "a", LEASE)
    ledger.commit(JOB, 1, Counts(stored=10), {})
    ledger.forget([JOB])
    assert not list(ledger.redis.scan_iter(f"{ledger._prefix}:*"))


def test_forgetting_a_job_leaves_the_others_alone(ledger: Ledger) -> None:
    other = "20261123-000000-00000001"
    create(ledger, other)
    ledger.forget([JOB])
    assert ledger.jobs() == ledger.open_jobs() == [other]
    assert ledger.claim(other, 0, "a", LEASE).state is WON


def test_two_queues_are_separate(ledger: Ledger, settings: Settings) -> None:
    other = Ledger(ledger.redis, f"{settings.queue}-other")
    assert other.claim(JOB, 0, "a", LEASE).state is ClaimState.UNKNOWN
    assert other.jobs() == other.open_jobs() == []
    create(other)
    assert other.claim(JOB, 0, "a", LEASE).state is WON
    other.commit(JOB, 0, Counts(stored=10), {})
    assert ledger.progress(JOB).counts == Counts()
    assert told(ledger.claim(JOB, 0, "b", LEASE)) == (WON, 1)
    other.forget([JOB])


def test_waiting_messages_are_counted_by_queue(ledger: Ledger, settings: Settings) -> None:
    assert ledger.queue_length(settings.queue) == 0
    ledger.redis.rpush(settings.queue, "one", "two")
    assert ledger.queue_length(settings.queue) == 2
    ledger.redis.delete(settings.queue)


# Broken brokers


def test_a_broker_that_is_not_there_is_said_so_without_its_password() -> None:
    ledger = Ledger(connect("redis://:hunter2@127.0.0.1:1/0"), "q")
    asks: list[Any] = [
        lambda: create(ledger),
        lambda: ledger.claim(JOB, 0, "a", LEASE),
        lambda: ledger.progress(JOB),
        ledger.open_jobs,
    ]
    for ask in asks:
        with pytest.raises(BrokerUnavailable) as caught:
            ask()
        assert "hunter2" not in str(caught.value)


def test_a_key_of_another_type_is_said_to_be_the_broker_s(ledger: Ledger) -> None:
    ledger.redis.delete(f"{ledger._prefix}:open")
    ledger.redis.set(f"{ledger._prefix}:open", "not a set")
    with pytest.raises(BrokerUnavailable, match="WRONGTYPE"):
        ledger.open_jobs()
