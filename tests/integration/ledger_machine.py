"""Any interleaving of what is done to two jobs of a ledger, beside a model of the truth."""

from __future__ import annotations

from dataclasses import replace as changed
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from maskmill.ledger.answers import Booking, ClaimReply, ClaimState, InHand, Renewal, Turn
from maskmill.schema import Counts
from tests.integration.ledger_checks import CheckedLedger
from tests.integration.ledger_truth import (
    IMAGES,
    LONG_SECONDS,
    OUT,
    PARTS,
    SHARDS,
    Job,
    Listing,
    Shard,
    deadlines,
    failures,
    holders,
    lose,
    of_failures,
    owners,
    places,
    replace,
    seconds,
    shards,
    wait_for,
)

NUMBERS = count()
jobs = st.integers(0, 1)
in_hand = st.one_of(st.none(), st.integers(0, IMAGES))
budgets = st.sampled_from([None, None, None, 0, 15])


class LedgerMachine(CheckedLedger):
    """Time passes when the machine says so: deadlines are far, over at once, or waited for."""

    ended: list[Counts]

    @initialize(budget=budgets, priorities=st.sampled_from([(0, 0), (0, 3), (5, 5)]), retry_round=st.integers(0, 1))
    def create(self, budget: int | None, priorities: tuple[int, int], retry_round: int) -> None:
        names = [f"20261122-000000-{next(NUMBERS):08x}" for _ in priorities]
        each = zip(names, ("m0", "m1"), priorities, (budget, None), strict=True)
        self.jobs = [Job(*given, retry_round) for given in each]
        self.listings = [Listing(retry_round, {}) for _ in self.jobs]
        for number in range(len(self.jobs)):
            self.create_again(number)

    @rule(which=jobs)
    def create_again(self, which: int) -> None:
        job = self.jobs[which]
        self.ledger.create(job.name, OUT, retry_round=job.retry_round, **job.submission)

    # What a worker does

    @rule(owner=owners, lease=deadlines, place=places)
    def claim_next(self, owner: str, lease: float, place: Turn) -> None:
        at = {"first": 0, "second": 1}.get(place.job)
        turn = changed(place, job="" if at is None else self.jobs[at].name)
        before = self.dump()
        reply = self.ledger.claim_next(owner, lease, turn)
        best = max((job.priority for job in self.jobs if job.claimable), default=None)
        if not reply:
            assert self.dump() == before
            assert reply.state is (ClaimState.NONE if best is None else ClaimState.YIELD)
            assert best is None or turn.only_this_job
        if turn.only_this_job and reply:
            assert reply.job == turn.job
        if at is not None and best is not None and self.jobs[at].claimable and self.jobs[at].priority == best:
            other = self.jobs[1 - at]
            stays = turn.stay_with_same_model if other.model == turn.model else turn.stay_with_other_model
            assert reply.job == turn.job or not stays
        if reply:
            job = next(job for job in self.jobs if job.name == reply.job)
            assert (job.priority, reply.shard in job.next_ones) == (best, True)
            self._won(job, reply, owner, lease)

    def _won(self, job: Job, reply: ClaimReply, owner: str, lease: float) -> None:
        shard = job.win(reply.shard, owner, late=lease < LONG_SECONDS)
        expected = (job.name, OUT, reply.shard, shard.attempts, shard.excused, job.retry_round, shard.note)
        assert reply == ClaimReply(ClaimState.CLAIMED, *expected)
        wait_for(lease)

    @rule(which=jobs, number=st.integers(0, SHARDS), owner=owners, lease=deadlines)
    def claim_abandoned(self, which: int, number: int, owner: str, lease: float) -> None:
        job = self.jobs[which]
        reply = self.ledger.claim_abandoned(job.name, number, owner, lease)
        if number == SHARDS:
            assert reply == ClaimReply(ClaimState.UNKNOWN)
        elif job.shards[number].done:
            assert reply == ClaimReply(ClaimState.DONE)
        elif not job.cancelled or (job.shards[number].owner and not job.shards[number].late):
            assert reply == ClaimReply(ClaimState.HELD)
        else:
            self._won(job, reply, owner, lease)

    @rule(which=jobs, numbers=st.sets(shards), holder=holders, at_once=st.booleans(), stored=in_hand)
    def renew(self, which: int, numbers: set[int], holder: str, at_once: bool, stored: int | None) -> None:
        job, asked = self.jobs[which], sorted(numbers)
        owner = job.shards[asked[0]].named(holder) if asked else "a"
        said = {} if stored is None else {number: InHand(Counts(stored=stored)) for number in asked}
        answers = self.ledger.renew(job.name, asked, owner, 0.0 if at_once else LONG_SECONDS, said)
        assert list(answers) == asked
        for number, answer in answers.items():
            if job.shards[number].owner != owner:
                assert answer is Renewal.LOST
            else:
                job.shards[number].late = at_once
                job.shards[number].in_hand = job.shards[number].in_hand if stored is None else stored
                assert answer is (Renewal.CANCELLED if job.cancelled else Renewal.RENEWED)

    @rule(which=jobs, number=shards, holder=holders, counts=st.booleans(), delay=deadlines, spent=seconds)
    def release(self, which: int, number: int, holder: str, counts: bool, delay: float, spent: float) -> None:
        job, shard = self.jobs[which], self.jobs[which].shards[number]
        owner = shard.named(holder)
        given = self.ledger.release(job.name, number, owner, delay_seconds=delay, counts=counts, seconds=spent)
        assert given == (shard.owner == owner)
        if given:
            shard.give_back(late=delay < LONG_SECONDS)
            shard.excused += not counts and shard.excused < shard.attempts
            wait_for(delay)

    @rule(which=jobs, number=shards)
    def excuse(self, which: int, number: int) -> None:
        shard = self.jobs[which].shards[number]
        self.ledger.excuse(self.jobs[which].name, number)
        shard.excused += shard.excused < shard.attempts

    @rule(which=jobs, number=shards, holder=holders, text=st.sampled_from(["", "x", '{"in_model":[1]}']))
    def note(self, which: int, number: int, holder: str, text: str) -> None:
        job, shard = self.jobs[which], self.jobs[which].shards[number]
        owner = shard.named(holder)
        self.ledger.note(job.name, owner, {number: text})
        if shard.owner == owner:
            shard.note = text

    @rule(which=jobs, number=st.integers(0, SHARDS), failed=failures, ahead=st.sampled_from([0, 0, 0, 1, -1]))
    def book(self, which: int, number: int, failed: int, ahead: int) -> None:
        """By whoever thinks that it may, twice: owners, zombies, nobody at all."""
        for spent in (0.0, 2.5):
            self._book(self.jobs[which], number, failed, self.jobs[which].retry_round + ahead, spent)

    def _book(self, job: Job, number: int, failed: int, retry_round: int, spent: float) -> None:
        counts = Counts(stored=IMAGES - failed, failed=failed)
        given = of_failures(failed)
        booking = self.ledger.book(job.name, number, counts, given, retry_round=retry_round, seconds=spent)
        if retry_round != job.retry_round or number == SHARDS or job.shards[number].done:
            assert booking is Booking.IGNORED
            return
        job.book(number, counts)
        assert booking is (Booking.OVER_BUDGET if job.over_budget else Booking.BOOKED)

    # What submitters and reconcilers do, and what happens to the broker

    @rule(which=jobs, sure=st.integers(0, 7))
    def cancel(self, which: int, sure: int) -> None:
        if sure == 7:  # seldom, for little happens afterwards
            self.ledger.cancel(self.jobs[which].name)
            self.jobs[which].cancelled = self.jobs[which].marked = True

    @rule(which=jobs, number=shards)
    def time_passes(self, which: int, number: int) -> None:
        """The deadline of a lease or a delay is over."""
        job, name = self.jobs[which], self.jobs[which].name
        for part in ("leases", "waiting"):
            self.ledger.redis.zadd(self.ledger.key(name, part), {str(number): 1}, xx=True)
        shard = job.shards[number]
        shard.late = shard.begun
        if shard.late and not job.cancelled:
            self.ledger.redis.zadd(self.ledger.key("due"), {name: 1}, lt=True)

    @rule(which=jobs, ahead=st.sampled_from([0, 0, 1]), kept=st.sets(shards))
    def list_bucket(self, which: int, ahead: int, kept: set[int]) -> None:
        """Somebody reads the bucket to build the ledger of this round, or of a retry that tries some shards again."""
        booked = dict(self.jobs[which].booked)
        if ahead:
            booked = {number: counts for number, counts in booked.items() if number in kept}
        self.listings[which] = Listing(self.jobs[which].retry_round + ahead, booked)

    @rule(which=jobs)
    def rebuild(self, which: int) -> None:
        """From what was read then; shards may have been booked since."""
        self._rebuild(self.jobs[which], self.listings[which])
        replace(self.jobs[which], self.listings[which])

    def _rebuild(self, job: Job, listing: Listing) -> None:
        self.ledger.rebuild(
            job.name,
            OUT,
            retry_round=listing.retry_round,
            done=listing.done,
            counts=listing.counts,
            failures=of_failures(listing.counts.failed),
            **job.submission,
        )
        job.rebuilt = job.rebuilt or listing.retry_round >= job.retry_round

    @rule(which=jobs, part=st.sampled_from(PARTS))
    def lose_a_key(self, which: int, part: str) -> None:
        job = self.jobs[which]
        if self.ledger.redis.delete(self.ledger.key(job.name, part)):
            state = self.ledger.inspect(job.name)
            assert state is not None
            assert not state.complete
            self._rebuild(job, Listing(job.retry_round, job.booked))
            lose(job, part)
            if job.marked:
                self.ledger.cancel(job.name)

    @rule(which=jobs)
    def lose_what_is_in_hand(self, which: int) -> None:
        """What only watchers see is nothing to build a ledger anew for."""
        self.ledger.redis.delete(self.ledger.key(self.jobs[which].name, "in_hand"))
        lose(self.jobs[which], "in_hand")

    @rule(which=jobs)
    def ask(self, which: int) -> None:
        """Questions change nothing."""
        before = self.dump()
        standing = self.ledger.standing(self.jobs[which].name)
        job = self.jobs[which]
        assert standing.leased == sum(shard.owner is not None and not shard.late for shard in job.shards)
        assert standing.paused == sum(shard.waiting and not shard.late for shard in job.shards)
        going_on = [shard for each in self.jobs if not each.cancelled for shard in each.shards]
        others = {shard.owner for shard in going_on if shard.owner and not shard.late}
        assert standing.leased or standing.busy == len(others)
        assert self.dump() == before

    @rule(part=st.sampled_from(["runnable", "due", "closing", "clock", "open"]))
    def lose_a_list(self, part: str) -> None:
        self.ledger.redis.delete(self.ledger.key(part))
        for job in self.jobs:
            state = self.ledger.inspect(job.name)
            if part == "open" or state is None or not state.complete:
                self._rebuild(job, Listing(job.retry_round, job.booked))

    def teardown(self) -> None:
        if not hasattr(self, "jobs"):
            return
        try:
            self._drain()
        finally:
            for job in self.jobs:
                self.ledger.forget(job.name)

    def _drain(self) -> None:
        """Once all deadlines are over, every shard that is not done can be had, and no other."""
        for which in range(len(self.jobs)):
            for number in range(SHARDS):
                self.time_passes(which, number)
        left = {(job.name, n) for job in self.jobs for n, shard in enumerate(job.shards) if not shard.done}
        won = set()
        while reply := self.ledger.claim_next("z", LONG_SECONDS):
            assert (reply.job, reply.shard) not in won
            won.add((reply.job, reply.shard))
        for job in self.jobs:
            if job.cancelled:
                every = ((job.name, number) for number in range(SHARDS))
                won |= {each for each in every if self.ledger.claim_abandoned(*each, "z", LONG_SECONDS)}
        assert won == left
        for job in self.jobs:
            for number in [n for name, n in won if name == job.name]:
                self._book(job, number, 0, job.retry_round, 1.0)
            job.shards = [Shard(done=True)] * SHARDS
            progress = self.ledger.progress(job.name)
            assert progress.finished
            self.ended.append(progress.decided)
            assert progress.decided.total == SHARDS * IMAGES
