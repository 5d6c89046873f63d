"""What the ledger should hold of two jobs, in plain Python, and what may be done to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from maskmill.ledger.answers import Turn
from maskmill.ledger.bitmap import of_shards
from maskmill.schema import Counts, FailureExample

SHARDS = 6
IMAGES = 10
OUT = "s3://bucket/out"
LONG_SECONDS = 600.0
"""A lease or delay that is not over within the test, unless the machine lets the time pass."""

SHORT_SECONDS = 0.03
PARTS = ("meta", "done", "owners", "charges", "leases", "waiting", "attempts", "excused", "notes")

shards = st.integers(0, SHARDS - 1)
owners = st.sampled_from(["a", "b", "c"])
holders = st.sampled_from(["a", "holder", "holder", "holder"])
deadlines = st.sampled_from([0.0, SHORT_SECONDS, LONG_SECONDS, LONG_SECONDS])
failures = st.integers(0, IMAGES)
seconds = st.sampled_from([0.0, 0.5, 30.0])
places = st.builds(
    Turn,
    job=st.sampled_from(["", "first", "second"]),
    model=st.sampled_from(["m0", "m1"]),
    stay_with_same_model=st.booleans(),
    stay_with_other_model=st.booleans(),
    only_this_job=st.booleans(),
)


@dataclass
class Shard:
    """What the ledger should hold of one shard: leased (an owner), waiting, done, or none of them and never begun."""

    owner: str | None = None
    waiting: bool = False
    late: bool = False
    done: bool = False
    attempts: int = 0
    excused: int = 0
    note: str = ""
    in_hand: int = 0
    """Images that its owner has stored so far."""

    @property
    def begun(self) -> bool:
        return self.attempts > 0

    @property
    def fresh(self) -> bool:
        return not (self.done or self.begun)

    def named(self, holder: str) -> str:
        """`holder` is whoever has the shard, so that what only an owner may do is done often enough."""
        return self.owner or "a" if holder == "holder" else holder

    def give_back(self, *, late: bool) -> None:
        self.owner, self.waiting, self.late, self.in_hand = None, True, late, 0


@dataclass
class Job:
    """What the ledger should hold of one job."""

    name: str
    model: str
    priority: int
    budget: int | None
    retry_round: int = 0
    cancelled: bool = False
    marked: bool = False
    """Whether the bucket has the marker of a cancellation of this round."""

    rebuilt: bool = False
    """Whether the ledger was lost once, and with it who had begun what."""

    shards: list[Shard] = field(default_factory=lambda: [Shard() for _ in range(SHARDS)])
    booked: dict[int, Counts] = field(default_factory=dict)
    """The bucket's reports that count in this round."""

    @property
    def counts(self) -> Counts:
        return add(self.booked)

    @property
    def in_hand(self) -> Counts:
        return Counts(stored=sum(shard.in_hand for shard in self.shards))

    @property
    def submission(self) -> dict[str, Any]:
        """What is said of the job whenever it is entered."""
        sizes = {"images": SHARDS * IMAGES, "shards": SHARDS, "created_seconds": 1.0}
        return {"model": self.model, "priority": self.priority, "max_failures": self.budget, **sizes}

    @property
    def next_ones(self) -> list[int]:
        """Of these shards the job's next one is."""
        if self.cancelled:
            return []
        late = [number for number, shard in enumerate(self.shards) if shard.late]
        given_back = [number for number in late if self.shards[number].waiting]
        return given_back or late or [number for number, shard in enumerate(self.shards) if shard.fresh][:1]

    @property
    def claimable(self) -> int:
        return 0 if self.cancelled else sum(shard.late or shard.fresh for shard in self.shards)

    @property
    def ended(self) -> bool:
        return self.cancelled or len(self.booked) == SHARDS

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and self.counts.failed > self.budget

    def win(self, number: int, owner: str, *, late: bool) -> Shard:
        shard = self.shards[number]
        shard.owner, shard.waiting, shard.late, shard.in_hand = owner, False, late, 0
        shard.attempts += 1
        return shard

    def book(self, number: int, counts: Counts) -> None:
        self.shards[number] = Shard(done=True)
        self.booked[number] = counts
        self.cancelled = self.cancelled or self.over_budget


@dataclass(frozen=True)
class Listing:
    """What somebody read in the bucket, to build the ledger of a job from."""

    retry_round: int
    booked: dict[int, Counts]

    @property
    def done(self) -> bytes:
        return of_shards(self.booked)

    @property
    def counts(self) -> Counts:
        return add(self.booked)


def add(booked: dict[int, Counts]) -> Counts:
    stored, failed = sum(each.stored for each in booked.values()), sum(each.failed for each in booked.values())
    return Counts(stored=stored, failed=failed)


def of_failures(failed: int) -> dict[str, tuple[int, FailureExample]]:
    """As bookings have them: all of one code."""
    return {"timeout": (failed, FailureExample(uri="x.jpg", reason="late"))} if failed else {}


def wait_for(deadline_seconds: float) -> None:
    """Until a short deadline is over; those that are far stay there, see `LedgerMachine.time_passes`."""
    if 0 < deadline_seconds < LONG_SECONDS:
        time.sleep(deadline_seconds + 0.01)


def replace(job: Job, listing: Listing) -> None:
    """The job after its ledger was built from the listing."""
    if listing.retry_round < job.retry_round:
        return
    same = listing.retry_round == job.retry_round
    job.retry_round, job.booked = listing.retry_round, dict(listing.booked)
    for number, shard in enumerate(job.shards):
        if number in listing.booked:
            job.shards[number] = Shard(done=True)
        elif shard.done or not same:
            job.shards[number] = Shard()
    job.cancelled = job.over_budget or (same and job.cancelled)
    job.marked = same and job.marked


def lose(job: Job, part: str) -> None:
    """The job after one of its keys was lost and its ledger built anew from all that is in the bucket."""
    for shard in job.shards:
        if not shard.begun:
            continue
        if (part in ("owners", "leases") and shard.owner) or (part == "waiting" and shard.waiting):
            shard.give_back(late=True)
        if part == "attempts":
            shard.attempts = shard.excused + 1
        if part == "excused":
            shard.excused = 0
        if part == "notes":
            shard.note = ""
        if part == "in_hand":
            shard.in_hand = 0
    if part == "meta":
        job.cancelled = job.over_budget or job.marked
