"""A claim that is kept alive: renewed in the background while the shard is worked on."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Thread

import structlog

from maskmill.errors import BrokerUnavailable, LeaseLost
from maskmill.ledger import Ledger

log = structlog.get_logger(__name__)


@dataclass
class Lease:
    """Renews the claim three times in each `seconds`; `check()` raises `LeaseLost` once another worker has it."""

    ledger: Ledger
    job: str
    shard: int
    owner: str
    seconds: float

    def __post_init__(self) -> None:
        """Begin to renew."""
        self._stopped, self._lost = Event(), Event()
        self._thread = Thread(target=self._renew, name=f"lease-{self.shard}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise `LeaseLost` if the shard is no longer ours."""
        if self._lost.is_set():
            raise LeaseLost(f"shard {self.shard} of job {self.job} went to another worker")

    def _renew(self) -> None:
        while not self._stopped.wait(self.seconds / 3):
            try:
                if not self.ledger.renew(self.job, self.shard, self.owner, self.seconds):
                    self._lost.set()
                    return
            except BrokerUnavailable as error:
                # The broker may be back before the lease expires; the commit finds out.
                log.warning("lease_not_renewed", job=self.job, shard=self.shard, reason=str(error))
