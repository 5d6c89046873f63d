"""What the ledger should hold of one job, in plain Python, and what may be done to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hypothesis import strategies as st

SHARDS = 6
IMAGES = 10
OUT = "s3://bucket/out"
LONG_SECONDS = 30.0
"""A lease or delay that is not over within the test, unless the machine lets the time pass."""

SHORT_SECONDS = 0.03
NOBODY = "-"

shards = st.integers(0, SHARDS - 1)
owners = st.sampled_from(["a", "b", "c"])
holders = st.sampled_from(["a", "holder", "holder", "holder"])
deadlines = st.sampled_from([0.0, SHORT_SECONDS, LONG_SECONDS, LONG_SECONDS])
failures = st.integers(0, IMAGES)


@dataclass
class Shard:
    """What the ledger should hold of one shard."""

    owner: str | None = None
    flying: bool = False
    late: bool = False
    done: bool = False
    begun: bool = False
    attempts: int = 0
    note: str = ""

    @property
    def held(self) -> bool:
        return self.owner is not None and not self.late

    def named(self, holder: str) -> str:
        """`holder` is whoever has the shard, so that what only an owner may do is done often enough."""
        return self.owner or "a" if holder == "holder" and self.owner != NOBODY else holder

    @property
    def up_for_grabs(self) -> bool:
        return self.flying and (self.late or self.owner is None)


def wait_for(deadline_seconds: float) -> None:
    """Until a short deadline is over; those that are far stay there, see `LedgerMachine.time_passes`."""
    if 0 < deadline_seconds < LONG_SECONDS:
        time.sleep(deadline_seconds + 0.01)
