"""Any interleaving of what workers, submitters and tenders do to a job in the ledger, beside a model of the truth."""

from __future__ import annotations

from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maskmill.ledger.answers import Claim, ClaimState, Load
from maskmill.ledger.ledger import Booking, Ledger, Renewal
from maskmill.schema import Counts
from tests.integration.ledger_truth import (
    IMAGES,
    LONG_SECONDS,
    NOBODY,
    OUT,
    SHARDS,
    Shard,
    deadlines,
    failures,
    holders,
    owners,
    shards,
    wait_for,
)

JOBS = count()


class LedgerMachine(RuleBasedStateMachine):
    """One job of a few shards. Time passes when the machine says so: deadlines are far, over at once, or waited for."""

    ledger: Ledger
    ended: list[Counts]

    @initialize(round_now=st.sampled_from([0, 0, 1]), budget=st.sampled_from([None, None, None, 0, 15]))
    def create(self, round_now: int, budget: int | None) -> None:
        self.job = f"20261122-000000-{next(JOBS):08x}"
        self.round, self.budget = round_now, budget
        self.truth = [Shard() for _ in range(SHARDS)]
        self.counts = Counts()
        self.next_shard = self.messages = 0
        self.cancelled = False
        self.create_again()

    @rule()
    def create_again(self) -> None:
        self.ledger.create(
            self.job,
            OUT,
            images=SHARDS * IMAGES,
            shards=SHARDS,
            created_seconds=1.0,
            priority=3,
            max_failures=self.budget,
            round=self.round,
        )

    # What a worker does

    def _win(self, shard: int, owner: str, *, late: bool) -> Claim:
        truth = self.truth[shard]
        truth.owner, truth.flying, truth.late, truth.begun = owner, True, late, True
        truth.attempts += 1
        return Claim(ClaimState.CLAIMED, shard, truth.attempts, self.round, truth.note)

    def _expected(self, shard: int, owner: str, *, settle: bool, late: bool) -> Claim:
        truth = self.truth[shard]
        if truth.done:
            return Claim(ClaimState.DONE)
        if self.cancelled and not settle:
            return Claim(ClaimState.CANCELLED)
        if truth.held and not (settle and truth.owner == NOBODY):
            return Claim(ClaimState.HELD)
        return self._win(shard, owner, late=late)

    @rule(shard=st.integers(0, SHARDS), owner=owners, settle=st.booleans(), lease=deadlines)
    def claim(self, shard: int, owner: str, settle: bool, lease: float) -> None:
        answer = self.ledger.claim(self.job, shard, owner, lease, settle=settle)
        if shard == SHARDS:
            assert answer == Claim(ClaimState.UNKNOWN)
            return
        self.messages = max(0, self.messages - (not settle))
        assert answer == self._expected(shard, owner, settle=settle, late=lease < LONG_SECONDS)
        wait_for(lease if answer else 0.0)

    @rule(owner=owners, at_once=st.booleans())
    def take_next(self, owner: str, at_once: bool) -> None:
        answer = self.ledger.next(self.job, owner, 0.0 if at_once else LONG_SECONDS)
        if self.cancelled:
            assert answer == Claim(ClaimState.CANCELLED)
            return
        free = [number for number, truth in enumerate(self.truth) if truth.up_for_grabs]
        if not free:
            while self.next_shard < SHARDS and self._taken(self.next_shard):
                self.next_shard += 1
            free = [self.next_shard] if self.next_shard < SHARDS else []
            self.next_shard = min(SHARDS, self.next_shard + 1)
        if free:
            assert answer.shard in free
            assert answer == self._win(answer.shard, owner, late=at_once)
        else:
            assert answer == Claim(ClaimState.NONE)

    def _taken(self, shard: int) -> bool:
        return self.truth[shard].done or self.truth[shard].flying

    @rule(shard=shards, holder=holders, at_once=st.booleans())
    def renew(self, shard: int, holder: str, at_once: bool) -> None:
        truth = self.truth[shard]
        owner = truth.named(holder)
        answer = self.ledger.renew(self.job, shard, owner, 0.0 if at_once else LONG_SECONDS)
        if truth.owner != owner:
            assert answer is Renewal.LOST
        else:
            truth.late = at_once
            assert answer is (Renewal.CANCELLED if self.cancelled else Renewal.RENEWED)

    @rule(shard=shards, holder=holders, counts=st.booleans(), delay=deadlines)
    def release(self, shard: int, holder: str, counts: bool, delay: float) -> None:
        truth = self.truth[shard]
        owner = truth.named(holder)
        released = self.ledger.release(self.job, shard, owner, delay_seconds=delay, counts=counts)
        assert released == (truth.owner == owner)
        if released:
            truth.owner = NOBODY if delay else None
            truth.late = delay < LONG_SECONDS
            truth.attempts -= not counts
            wait_for(delay)

    @rule(shard=shards, holder=holders, text=st.sampled_from(["", "x", '{"in_hand":[1]}']))
    def note(self, shard: int, holder: str, text: str) -> None:
        owner = self.truth[shard].named(holder)
        self.ledger.note(self.job, owner, {shard: text})
        if self.truth[shard].owner == owner:
            self.truth[shard].note = text

    @rule(shard=shards, failed=failures, times=st.integers(1, 2), ahead=st.sampled_from([0, 0, 1, -1]))
    def commit(self, shard: int, failed: int, times: int, ahead: int) -> None:
        """By whoever thinks that it may: owners, zombies, nobody at all."""
        for _ in range(times):
            self._commit(shard, failed, self.round + ahead)

    def _commit(self, shard: int, failed: int, round_then: int) -> None:
        counts = Counts(stored=IMAGES - failed, failed=failed)
        booking = self.ledger.commit(self.job, shard, counts, {"timeout": failed} if failed else {}, round=round_then)
        if round_then != self.round or self.truth[shard].done:
            assert booking is Booking.IGNORED
            return
        self.truth[shard] = Shard(done=True)
        self.counts = Counts(stored=self.counts.stored + counts.stored, failed=self.counts.failed + failed)
        over = self.budget is not None and self.counts.failed > self.budget
        self.cancelled = self.cancelled or over
        assert booking is (Booking.OVER_BUDGET if over else Booking.BOOKED)

    # What submitters and tenders do

    @precondition(lambda self: not self.cancelled)
    @rule(sure=st.integers(0, 7))
    def cancel(self, sure: int) -> None:
        if sure == 7:  # seldom, for little happens afterwards
            self.ledger.cancel(self.job)
            self.cancelled = True

    @rule(window=st.integers(1, SHARDS))
    def admit(self, window: int) -> None:
        waiting = sum(truth.flying and truth.owner in (None, NOBODY) for truth in self.truth)
        expected: list[int] = []
        while not self.cancelled and self.next_shard < SHARDS and len(expected) < window - max(waiting, self.messages):
            if not self._taken(self.next_shard):
                expected.append(self.next_shard)
                self.truth[self.next_shard].flying = True
            self.next_shard += 1
        assert self.ledger.admit(self.job, window, LONG_SECONDS) == expected
        self.messages += len(expected)

    @rule(room=st.sampled_from([0, 1, 99]), queued=st.sampled_from([0, 99]))
    def reap(self, room: int, queued: int) -> None:
        answer = self.ledger.reap(self.job, SHARDS, LONG_SECONDS, room, queued)
        late = {number for number, truth in enumerate(self.truth) if truth.late and not self.cancelled}
        lost = {number for number in late if self.truth[number].begun}
        assert lost <= set(answer) <= late
        assert len(answer) == len(set(answer)) == len(lost) + min(room, len(late - lost))
        if not self.cancelled:
            self.messages = min(self.messages, queued) + len(answer)
        for shard in answer:
            self.truth[shard].owner, self.truth[shard].late = None, False

    @rule(shard=shards)
    def time_passes(self, shard: int) -> None:
        """The deadline of a lease, a delay or an announcement is over."""
        assert self.ledger.redis.zadd(self.ledger._keys(self.job)[3], {str(shard): 1}, xx=True) == 0
        self.truth[shard].late = self.truth[shard].flying

    # What must hold at any time

    @invariant()
    def the_counters_are_the_truth(self) -> None:
        progress = self.ledger.progress(self.job)
        committed = [truth.done for truth in self.truth]
        assert self.ledger.done(self.job, range(SHARDS)) == committed
        assert progress.shards_done == sum(committed)
        assert progress.decided == self.counts
        notes = self.ledger.redis.hgetall(self.ledger._keys(self.job)[5])
        assert notes == {str(number): truth.note for number, truth in enumerate(self.truth) if truth.note}
        assert sum(progress.failures.values()) == self.counts.failed
        assert progress.claimed == sum(truth.owner is not None for truth in self.truth)
        assert progress.queued == sum(truth.flying and truth.owner is None for truth in self.truth)
        assert (progress.cancelled, progress.round) == (self.cancelled, self.round)
        abandoned = self.cancelled and not self.round and not self.begun
        assert progress.finished == (all(committed) or abandoned)
        assert progress.counts.total == (SHARDS * IMAGES if progress.finished else self.counts.total)

    @invariant()
    def begun_shards_and_loads_are_the_truth(self) -> None:
        assert self.ledger.begun(self.job) == self.begun
        claimed = sum(truth.owner is not None for truth in self.truth)
        waiting = any(truth.flying and truth.owner is None for truth in self.truth) or self.next_shard < SHARDS
        expected = [Load(self.job, OUT, 3, claimed)] if waiting and not self.cancelled else []
        assert self.ledger.loads() == expected

    @property
    def begun(self) -> list[int]:
        return [number for number, truth in enumerate(self.truth) if truth.begun]

    def teardown(self) -> None:
        try:
            self._drain()
        finally:
            self.ledger.forget([self.job])

    def _drain(self) -> None:
        """Once all deadlines are over, every shard that is not committed can be had, and no other."""
        for shard in range(SHARDS):
            self.time_passes(shard)
        left = {number for number, truth in enumerate(self.truth) if not truth.done}
        if self.cancelled:
            answers = [self.ledger.next(self.job, "z", LONG_SECONDS)]
            answers += [self.ledger.claim(self.job, shard, "z", LONG_SECONDS) for shard in left]
            assert {answer.state for answer in answers} == {ClaimState.CANCELLED}
            won = {shard for shard in left if self.ledger.claim(self.job, shard, "z", LONG_SECONDS, settle=True)}
        else:
            won = set()
            while answer := self.ledger.next(self.job, "z", LONG_SECONDS):
                assert answer.shard not in won
                won.add(answer.shard)
        assert won == left
        for shard in won:
            self._commit(shard, 0, self.round)
        assert self.ledger.progress(self.job).finished
        self.ended.append(self.ledger.progress(self.job).decided)
        assert self.ended[-1].total == SHARDS * IMAGES
