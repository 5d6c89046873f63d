"""What the ledger is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from maskmill.schema import Counts, FailureExample, JobState


class ClaimState(StrEnum):
    """What a claim found: only `CLAIMED` gives the right to work on the shard.

    `NONE`: no job has a claimable shard. `YIELD`: it is another job's turn, and nothing was claimed. `HELD`, `DONE` and
    `UNKNOWN` answer a claim of one given shard.
    """

    CLAIMED = "claimed"
    NONE = "none"
    YIELD = "yield"
    HELD = "held"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ClaimReply:
    """The answer to a claim; all but `state` means something only when the shard was won.

    `attempt` counts the claims of the shard so far, this one included; `excused` of them were not the shard's fault.
    `retry_round` is that of the job's last `retry` (0: none), `note` what an earlier owner left (`Ledger.note`).
    """

    state: ClaimState
    job: str = ""
    out: str = ""
    shard: int = -1
    attempt: int = 0
    excused: int = 0
    retry_round: int = 0
    note: str = ""

    def __bool__(self) -> bool:
        """Whether the shard was won."""
        return self.state is ClaimState.CLAIMED

    @property
    def counted(self) -> int:
        """Attempts that count, this one included."""
        return self.attempt - self.excused


@dataclass(frozen=True)
class Turn:
    """What the worker is at, and what may end that.

    Its slice goes on against a waiting job of the same model if `stay_with_same_model`, of another model if
    `stay_with_other_model`; a job of higher priority always ends it. With `only_this_job` no other job is claimed.

    Example: Turn("j1", "demo", stay_with_same_model=False, stay_with_other_model=True) leaves j1 for another job of the
    demo model whose turn it is, but not for one whose model must be loaded first.
    """

    job: str = ""
    model: str = ""
    stay_with_same_model: bool = False
    stay_with_other_model: bool = False
    only_this_job: bool = False


NO_TURN = Turn()
"""Of a worker that is at nothing."""


class Renewal(IntEnum):
    """What became of a lease that was to be renewed; `CANCELLED`: it is renewed, and the job is cancelled."""

    LOST = 0
    RENEWED = 1
    CANCELLED = 2


LOADING = "loading "
MOST_CHARACTERS = 200
"""Of a model's name, which may be as long as its submitter liked."""


@dataclass(frozen=True)
class InHand:
    """What the owner of a held shard says of it: its images so far by status, or the model that it loads first.

    >>> InHand(Counts(stored=12, failed=1)).text()
    '12 0 1'
    """

    counts: Counts = field(default_factory=Counts)
    loading: str = ""

    def text(self) -> str:
        """For the ledger."""
        if self.loading:
            return f"{LOADING}{self.loading[:MOST_CHARACTERS]}"
        return f"{self.counts.stored} {self.counts.reused} {self.counts.failed}"

    @classmethod
    def from_text(cls, text: str) -> InHand:
        """What was said; nothing, where that is not understood."""
        if text.startswith(LOADING):
            return cls(loading=text.removeprefix(LOADING))
        numbers = text.split()
        if len(numbers) != len(("stored", "reused", "failed")) or not all(map(str.isdecimal, numbers)):
            return cls()
        stored, reused, failed = map(int, numbers)
        return cls(Counts(stored=stored, reused=reused, failed=failed))


@dataclass(frozen=True)
class Standing:
    """What keeps a job from going on, as far as the ledger shows it.

    Shards: `leased` are with an owner that is heard of, `paused` may be claimed in `pause_seconds` or later. Workers:
    `there`, of these `starting`; `busy` at `busy_jobs` others, most of them at `busy_with`, if none is at this one.
    """

    leased: int
    there: int
    starting: int
    paused: int
    pause_seconds: float
    busy: int = 0
    busy_jobs: int = 0
    busy_with: str = ""


class Booking(IntEnum):
    """What a booking did: nothing (not the first in this round), booked, or booked and overran the failure budget."""

    IGNORED = 0
    BOOKED = 1
    OVER_BUDGET = 2


@dataclass(frozen=True)
class Progress:
    """One job as the ledger sees it.

    Shards: `claimed` have an owner, `waiting` were given back, `begun` have had an owner and are not booked.
    `rebuilt`: the ledger was lost once, and with it who had begun what.
    `in_hand` are the images of claimed shards that are finished and not booked: they are counted anew when their owner
    loses its shard. `loading` is the model that the owners load, while none has a finished image.
    `trouble` is what keeps the workers from going on with it, see `Ledger.trouble`; `files` are its model's. `left_out`
    are entries of its sources that were not submitted, by reason.
    """

    job: str
    out: str
    images: int
    shards: int
    shards_done: int
    claimed: int
    waiting: int
    begun: int
    cancelled: bool
    retry_round: int
    decided: Counts
    failures: dict[str, int]
    warnings: dict[str, int]
    examples: dict[str, FailureExample]
    in_hand: Counts = field(default_factory=Counts)
    loading: str = ""
    trouble: str | None = None
    files: str | None = None
    rebuilt: bool = False
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def begun_is_known(self) -> bool:
        """Whether `begun` are all that anybody may still commit: the first ledger of the job's first round says so."""
        return not self.rebuilt and not self.retry_round

    @property
    def finished(self) -> bool:
        """Whether every shard is booked, or nobody will work on those that are not."""
        nobody_left = self.cancelled and not self.begun and self.begun_is_known
        return self.shards_done >= self.shards or nobody_left

    @property
    def counts(self) -> Counts:
        """Images by status. In a cancelled job that nobody works on any more, what is undecided is cancelled."""
        if not (self.cancelled and self.finished):
            return self.decided
        rest = max(0, self.images - self.decided.total)
        return self.decided.model_copy(update={"cancelled": self.decided.cancelled + rest})

    @property
    def final_state(self) -> JobState:
        """The state of a job that is finished."""
        if self.counts.cancelled or self.cancelled:
            return JobState.CANCELLED
        return JobState.COMPLETED_WITH_FAILURES if self.counts.failed else JobState.COMPLETED


@dataclass(frozen=True)
class LedgerState:
    """What the ledger holds of a job. Not `complete`: the broker lost some of it, and it must be rebuilt.

    `done` is a bitmap, see `maskmill.ledger.bitmap`.
    """

    retry_round: int
    done: bytes
    complete: bool
