"""Any interleaving of what workers, reapers, admission and submitters do keeps the ledger equal to the truth."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from threading import Barrier

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from maskmill.ledger import Booking, Ledger, Renewal
from maskmill.progress import Claim, ClaimState
from maskmill.schema import Counts
from maskmill.services import Services
from tests.chaos.form import LONG

LEASE = 30.0
SHARDS = 3
EXAMPLES, RACES = (400, 1000) if LONG else (30, 60)
NUMBERS = count()

shards = st.integers(0, SHARDS - 1)
owners = st.sampled_from(["a", "b"])


@dataclass
class Truth:
    """What a shard should be, in plain Python. `waits`: given back with a delay, nobody's until that is over."""

    owner: str | None = None
    queued: bool = False
    late: bool = False
    waits: bool = False
    done: bool = False
    attempts: int = 0
    begun: bool = False
    note: str = ""

    @property
    def free(self) -> bool:
        """Whether it may be won."""
        return not self.done and (self.late or not (self.owner or self.waits))

    def won_by(self, owner: str) -> None:
        self.owner, self.queued, self.late, self.waits, self.begun = owner, True, False, False, True
        self.attempts += 1


class Interleaving(RuleBasedStateMachine):
    """Leases are ended by renewing them for no time; delays are none, or longer than the test."""

    ledger: Ledger

    @initialize(budget=st.sampled_from([None, 0, 5, 15]))
    def start(self, budget: int | None) -> None:
        self.job = f"20261122-000000-{next(NUMBERS):08x}"
        self.truth = [Truth() for _ in range(SHARDS)]
        self.counts, self.budget, self.cancelled = Counts(), budget, False
        self.next = self.messages = 0
        self.create_again()

    @rule()
    def create_again(self) -> None:
        self.ledger.create(
            self.job, "s3://b/o", images=10 * SHARDS, shards=SHARDS, created_seconds=1.0, max_failures=self.budget
        )

    def check_won(self, answer: Claim, shard: int, owner: str) -> None:
        truth = self.truth[shard]
        truth.won_by(owner)
        assert (answer.state, answer.shard) == (ClaimState.CLAIMED, shard)
        assert (answer.attempt, answer.note, answer.round) == (truth.attempts, truth.note, 0)

    @rule(shard=shards, owner=owners, settle=st.booleans())
    def claim(self, shard: int, owner: str, settle: bool) -> None:
        truth, answer = self.truth[shard], self.ledger.claim(self.job, shard, owner, LEASE, settle=settle)
        self.messages -= not settle and self.messages > 0
        if truth.done:
            assert answer.state is ClaimState.DONE
        elif self.cancelled and not settle:
            assert answer.state is ClaimState.CANCELLED
        elif truth.free or (settle and truth.waits):
            self.check_won(answer, shard, owner)
        else:
            assert answer.state is ClaimState.HELD

    @rule(owner=owners)
    def take_next(self, owner: str) -> None:
        answer = self.ledger.next(self.job, owner, LEASE)
        if self.cancelled:
            assert answer.state is ClaimState.CANCELLED
            return
        flying = [n for n, truth in enumerate(self.truth) if truth.queued and truth.free]
        if flying:
            assert answer.shard in flying
        else:
            while self.next < SHARDS and (self.truth[self.next].done or self.truth[self.next].queued):
                self.next += 1
            if self.next == SHARDS:
                assert answer.state is ClaimState.NONE
                return
            assert answer.shard == self.next
            self.next += 1
        self.check_won(answer, answer.shard, owner)

    @rule(shard=shards, owner=owners)
    def renew(self, shard: int, owner: str) -> None:
        truth = self.truth[shard]
        expected = Renewal.CANCELLED if self.cancelled else Renewal.RENEWED
        mine = truth.owner == owner
        assert self.ledger.renew(self.job, shard, owner, LEASE) is (expected if mine else Renewal.LOST)
        truth.late = truth.late and not mine

    @rule(shard=shards)
    def expire(self, shard: int) -> None:
        truth = self.truth[shard]
        if truth.owner:
            self.ledger.renew(self.job, shard, truth.owner, 0)
            truth.late = True

    @rule(shard=shards, owner=owners, text=st.sampled_from(["", "one", "two"]))
    def note(self, shard: int, owner: str, text: str) -> None:
        self.ledger.note(self.job, owner, {shard: text})
        if self.truth[shard].owner == owner:
            self.truth[shard].note = text

    @rule(shard=shards, owner=owners, counts=st.booleans(), waits=st.booleans())
    def release(self, shard: int, owner: str, counts: bool, waits: bool) -> None:
        truth = self.truth[shard]
        delay = LEASE if waits else 0.0
        released = self.ledger.release(self.job, shard, owner, delay_seconds=delay, counts=counts)
        assert released == (truth.owner == owner)
        if released:
            truth.owner, truth.late, truth.waits = None, not waits, waits
            truth.attempts -= not counts

    @rule(shard=shards, stored=st.integers(0, 10), round_=st.sampled_from([0, 0, 0, 1]))
    def commit(self, shard: int, stored: int, round_: int) -> None:
        counts = Counts(stored=stored, failed=10 - stored)
        failures = {"timeout": counts.failed} if counts.failed else {}
        booking = self.ledger.commit(self.job, shard, counts, failures, round=round_)
        if round_ or self.truth[shard].done:
            assert booking is Booking.IGNORED
            return
        self.counts = Counts(stored=self.counts.stored + stored, failed=self.counts.failed + counts.failed)
        self.truth[shard] = Truth(done=True)
        over = self.budget is not None and self.counts.failed > self.budget
        assert booking is (Booking.OVER_BUDGET if over else Booking.BOOKED)
        self.cancelled = self.cancelled or over

    @rule()
    def cancel(self) -> None:
        self.ledger.cancel(self.job)
        self.cancelled = True

    @rule(window=st.integers(1, SHARDS))
    def admit(self, window: int) -> None:
        waiting = sum(truth.queued and truth.owner is None for truth in self.truth)
        expected, room = [], 0 if self.cancelled else window - max(waiting, self.messages)
        while room > 0 and self.next < SHARDS:
            truth = self.truth[self.next]
            if not truth.done and not truth.queued:
                expected.append(self.next)
                truth.queued, room = True, room - 1
            self.next += 1
        assert self.ledger.admit(self.job, window, LEASE) == expected
        self.messages += len(expected)

    @rule()
    def reap(self) -> None:
        late = set() if self.cancelled else {shard for shard, truth in enumerate(self.truth) if truth.late}
        assert set(self.ledger.reap(self.job, SHARDS, LEASE, 99, 99)) == late
        self.messages += len(late)
        for shard in late:
            self.truth[shard].owner, self.truth[shard].late = None, False

    @invariant()
    def the_ledger_is_the_truth(self) -> None:
        progress = self.ledger.progress(self.job)
        done, begun = [truth.done for truth in self.truth], [n for n, truth in enumerate(self.truth) if truth.begun]
        assert progress.shards_done == sum(done)
        assert progress.claimed == sum(bool(truth.owner or truth.waits) for truth in self.truth)
        assert progress.queued == sum(truth.queued for truth in self.truth) - progress.claimed
        assert progress.decided == self.counts
        assert sum(progress.failures.values()) == self.counts.failed
        assert progress.cancelled == self.cancelled
        assert self.ledger.done(self.job, range(SHARDS)) == done
        assert self.ledger.begun(self.job) == begun
        assert progress.finished == (all(done) or (self.cancelled and not begun))
        if progress.finished:
            assert progress.counts.total == 10 * SHARDS

    def teardown(self) -> None:
        """Whatever has happened, what is left can be done, or settled."""
        for shard, truth in enumerate(self.truth):
            if truth.owner or truth.waits:
                self.ledger.release(self.job, shard, truth.owner or "-")
        for shard in self.ledger.begun(self.job) if self.cancelled else ():
            assert self.ledger.claim(self.job, shard, "s", LEASE, settle=True)
            self.ledger.commit(self.job, shard, Counts(cancelled=10), {})
        while answer := self.ledger.next(self.job, "s", LEASE):
            self.ledger.commit(self.job, answer.shard, Counts(stored=10), {})
        progress = self.ledger.progress(self.job)
        assert progress.finished
        assert progress.counts.total == 10 * SHARDS
        self.ledger.forget([self.job])


@pytest.mark.timeout(1200 if LONG else 120)
def test_any_interleaving_keeps_the_ledger_true(services: Services) -> None:
    class OfThisTest(Interleaving):
        ledger = services.ledger

    bounded = hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(OfThisTest, settings=bounded)


def test_of_ten_workers_that_race_for_a_shard_one_wins_and_one_commit_counts(services: Services) -> None:
    job, ledger, barrier = "20261122-000000-99999999", services.ledger, Barrier(10)
    ledger.create(job, "s3://b/o", images=10 * RACES, shards=RACES, created_seconds=1.0)

    def work(worker: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        for shard in range(RACES):
            barrier.wait()
            # A lease that is over at once: its owner still works when the next one wins the shard, too.
            answer = ledger.claim(job, shard, f"w{worker}", 0.001 if shard % 2 else LEASE)
            seen[f"won {shard}"] += bool(answer)
            if answer:
                seen["booked"] += ledger.commit(job, shard, Counts(stored=10), {}) is Booking.BOOKED
        return seen

    with ThreadPoolExecutor(10) as pool:
        seen = sum(pool.map(work, range(10)), Counter[str]())
    assert all(seen[f"won {shard}"] == 1 for shard in range(0, RACES, 2))
    assert seen["booked"] == RACES
    assert ledger.progress(job).counts == Counts(stored=10 * RACES)
