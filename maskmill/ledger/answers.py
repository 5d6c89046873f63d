"""What the ledger tells: the answer to a claim, where a job stands, who waits for a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from maskmill.schema import Counts, FailureExample


class ClaimState(StrEnum):
    """What a claim found: only `CLAIMED` gives the right to work on the shard."""

    CLAIMED = "claimed"
    HELD = "held"
    DONE = "done"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    NONE = "none"


@dataclass(frozen=True)
class Claim:
    """The answer to a claim.

    `attempt` counts from 1, `round` is that of the job's last `retry` (0: none), and `note` is what an earlier owner
    noted about the shard (see `Ledger.note`); they mean something only when the shard was won.
    """

    state: ClaimState
    shard: int = -1
    attempt: int = 0
    round: int = 0
    note: str = ""

    def __bool__(self) -> bool:
        """Whether the shard was won."""
        return self.state is ClaimState.CLAIMED


@dataclass(frozen=True)
class Progress:
    """One job as the ledger sees it. `claimed` and `queued` are shards in flight; `begun` ones have had an owner."""

    job: str
    out: str
    images: int
    shards: int
    shards_done: int
    claimed: int
    queued: int
    begun: int
    cancelled: bool
    round: int
    decided: Counts
    failures: dict[str, int]
    examples: dict[str, FailureExample] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every shard is committed, or nobody will work on those that are not."""
        return self.shards_done >= self.shards or (self.cancelled and not self.begun and not self.round)

    @property
    def counts(self) -> Counts:
        """Images by status. In a cancelled job that nobody works on any more, what is undecided is cancelled."""
        if not (self.cancelled and self.finished):
            return self.decided
        rest = self.images - self.decided.total
        return self.decided.model_copy(update={"cancelled": self.decided.cancelled + rest})


@dataclass(frozen=True)
class Load:
    """An open job that has shards for a worker, and how many of its shards workers have now."""

    job: str
    out: str
    priority: int
    claimed: int
