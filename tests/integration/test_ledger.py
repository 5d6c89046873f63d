"""The ledger's scripts in a real Valkey."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from maskmill.errors import BrokerUnavailable, JobNotFound
from maskmill.ledger import Claim, ClaimState, Ledger, Progress, connect
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
    assert ledger.claim(JOB, 0, "a", LEASE) == Claim(WON, 1)


def test_a_held_shard_is_refused_and_its_attempts_stay(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(HELD, 0)
    assert ledger.claim(JOB, 0, "a", LEASE) == Claim(HELD, 0)
    ledger.release(JOB, 0, "a")
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(WON, 2)


def test_an_expired_shard_goes_to_the_next_one_as_its_second_attempt(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", INSTANT)
    expire()
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(WON, 2)
    assert not ledger.renew(JOB, 0, "a", LEASE)
    assert not ledger.release(JOB, 0, "a")
    assert ledger.claim(JOB, 0, "c", LEASE).state is HELD


def test_a_committed_shard_is_done_for_everybody(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.commit(JOB, 0, Counts(stored=10), {})
    assert ledger.claim(JOB, 0, "a", LEASE) == Claim(ClaimState.DONE, 0)
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(ClaimState.DONE, 0)


def test_a_shard_of_an_unknown_job_is_not_won_and_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.claim("20200101-000000-00000000", 0, "a", LEASE) == Claim(ClaimState.UNKNOWN, 0)
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
    assert [answer for answer in answers if answer.state is WON] == [Claim(WON, 2)]


# Leases


def test_a_renewed_lease_does_not_expire(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", 0.3)
    for _ in range(3):
        time.sleep(0.15)
        assert ledger.renew(JOB, 0, "a", 0.3)
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
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(WON, attempt)


def test_a_shard_that_is_given_back_is_announced_again_after_its_delay(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "a", LEASE)
    ledger.release(JOB, 0, "a", delay_seconds=0.2)
    assert ledger.reap(JOB, 10, LEASE, 99, 99) == []
    time.sleep(0.25)
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
    assert first.count(True) == 1
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
    assert ledger.next(JOB, "a", LEASE) == (0, 1)
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
    assert [ledger.next(JOB, "a", LEASE) for _ in range(4)] == [(1, 1), (2, 1), (3, 1), None]
    assert ledger.claim(JOB, 2, "b", LEASE) == Claim(HELD, 0)


def test_the_next_shard_is_none_that_was_begun_or_done(ledger: Ledger) -> None:
    ledger.claim(JOB, 0, "b", LEASE)
    ledger.release(JOB, 0, "b", delay_seconds=LEASE)
    ledger.commit(JOB, 1, Counts(stored=10), {})
    assert [ledger.next(JOB, "a", LEASE) for _ in range(3)] == [(2, 1), (3, 1), None]


def test_an_unknown_job_has_no_next_shard(ledger: Ledger) -> None:
    ledger.forget([JOB])
    assert ledger.next(JOB, "a", LEASE) is None
    assert not list(ledger.redis.scan_iter(f"{ledger._prefix}:*"))


def test_of_twenty_threads_that_ask_for_the_next_shard_each_wins_another(ledger: Ledger) -> None:
    job = "20261123-000000-00000002"
    create(ledger, job, shards=15)
    ledger.admit(job, 5, LEASE)
    with ThreadPoolExecutor(20) as pool:
        won = [each for each in pool.map(lambda n: ledger.next(job, f"w{n}", LEASE), range(20)) if each]
    assert sorted(won) == [(shard, 1) for shard in range(15)]


def test_a_job_is_alone_until_another_is_open(ledger: Ledger) -> None:
    assert ledger.alone(JOB)
    create(ledger, "20261123-000000-00000003")
    assert not ledger.alone(JOB)


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
    assert ledger.claim(JOB, 0, "c", LEASE) == Claim(WON, 2)
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
        job=JOB, out=OUT, images=40, shards=4, shards_done=0, claimed=0, queued=0, counts=Counts(), failures={}
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
    assert ledger.claim(JOB, 0, "b", LEASE) == Claim(WON, 1)
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


# Any interleaving


@dataclass
class Truth:
    """What a shard should be, in plain Python."""

    owner: str | None = None
    queued: bool = False
    late: bool = False
    done: bool = False
    begun: bool = False
    attempts: int = 0


SHARDS = 3
shards = st.integers(0, SHARDS - 1)
owners = st.sampled_from(["a", "b"])
NUMBERS = count()


class Interleaving(RuleBasedStateMachine):
    """Workers, reapers and admission in any order; leases are ended by renewing them for no time."""

    ledger: Ledger

    @initialize()
    def start(self) -> None:
        self.job = f"20261122-000000-{next(NUMBERS):08x}"
        self.truth = [Truth() for _ in range(SHARDS)]
        self.counts = Counts()
        self.next = self.messages = 0
        create(self.ledger, self.job, SHARDS)

    @rule(shard=shards, owner=owners)
    def claim(self, shard: int, owner: str) -> None:
        truth, answer = self.truth[shard], self.ledger.claim(self.job, shard, owner, LEASE)
        self.messages = max(0, self.messages - 1)
        if truth.done:
            assert answer == Claim(ClaimState.DONE, 0)
        elif truth.owner and not truth.late:
            assert answer == Claim(HELD, 0)
        else:
            truth.owner, truth.queued, truth.late, truth.attempts = owner, True, False, truth.attempts + 1
            truth.begun = True
            assert answer == Claim(WON, truth.attempts)

    @rule(owner=owners)
    def take_next(self, owner: str) -> None:
        answer = self.ledger.next(self.job, owner, LEASE)
        announced = [n for n, truth in enumerate(self.truth) if truth.queued and not truth.begun]
        while not announced and self.next < SHARDS and (self.truth[self.next].done or self.truth[self.next].queued):
            self.next += 1
        if not announced and self.next >= SHARDS:
            assert answer is None
            return
        assert answer is not None
        shard, attempt = answer
        assert shard in announced if announced else shard == self.next
        self.next += not announced
        truth = self.truth[shard]
        truth.owner, truth.queued, truth.late, truth.begun, truth.attempts = owner, True, False, True, 1
        assert attempt == 1

    @rule(shard=shards, owner=owners)
    def renew(self, shard: int, owner: str) -> None:
        truth = self.truth[shard]
        assert self.ledger.renew(self.job, shard, owner, LEASE) == (truth.owner == owner)
        truth.late = truth.late and truth.owner != owner

    @rule(shard=shards)
    def expire(self, shard: int) -> None:
        truth = self.truth[shard]
        if truth.owner:
            assert self.ledger.renew(self.job, shard, truth.owner, 0)
            truth.late = True

    @rule(shard=shards, owner=owners, counts=st.booleans(), late=st.booleans())
    def release(self, shard: int, owner: str, counts: bool, late: bool) -> None:
        truth = self.truth[shard]
        delay = 0.0 if late else LEASE
        released = self.ledger.release(self.job, shard, owner, delay_seconds=delay, counts=counts)
        assert released == (truth.owner == owner)
        if released:
            truth.owner, truth.late, truth.attempts = None, late, truth.attempts - (not counts)

    @rule(shard=shards, stored=st.integers(0, 10))
    def commit(self, shard: int, stored: int) -> None:
        counts = Counts(stored=stored, failed=10 - stored)
        first = self.ledger.commit(self.job, shard, counts, {"timeout": counts.failed} if counts.failed else {})
        assert first == (not self.truth[shard].done)
        if first:
            self.counts = Counts(stored=self.counts.stored + stored, failed=self.counts.failed + counts.failed)
        self.truth[shard] = Truth(done=True)

    @rule(window=st.integers(1, SHARDS))
    def admit(self, window: int) -> None:
        waiting = sum(truth.queued and truth.owner is None for truth in self.truth)
        expected, room = [], window - max(waiting, self.messages)
        while room > 0 and self.next < SHARDS:
            truth = self.truth[self.next]
            if not truth.done and not truth.queued:
                expected.append(self.next)
                truth.queued, truth.late, room = True, False, room - 1
            self.next += 1
        assert self.ledger.admit(self.job, window, LEASE) == expected
        self.messages += len(expected)

    @rule()
    def reap(self) -> None:
        late = {shard for shard, truth in enumerate(self.truth) if truth.late}
        assert set(self.ledger.reap(self.job, SHARDS, LEASE, 99, 99)) == late
        self.messages += len(late)
        for shard in late:
            self.truth[shard].owner, self.truth[shard].late = None, False

    @rule()
    def create_again(self) -> None:
        create(self.ledger, self.job, SHARDS)

    @invariant()
    def the_counters_are_the_truth(self) -> None:
        progress = self.ledger.progress(self.job)
        assert progress.shards_done == sum(truth.done for truth in self.truth)
        assert progress.claimed == sum(truth.owner is not None for truth in self.truth)
        assert progress.queued == sum(truth.queued and truth.owner is None for truth in self.truth)
        assert progress.counts == self.counts
        assert sum(progress.failures.values()) == progress.counts.failed
        assert self.ledger.done(self.job, range(SHARDS)) == [truth.done for truth in self.truth]

    def teardown(self) -> None:
        self.ledger.forget([self.job])


def test_any_interleaving_keeps_the_counters_true(services: Services) -> None:
    class OfThisTest(Interleaving):
        ledger = services.ledger

    bounded = hypothesis_settings(max_examples=30, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(OfThisTest, settings=bounded)
