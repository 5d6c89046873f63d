"""A claim that is kept alive: renewed in the background while the shard is worked on."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Thread

import structlog
from maskmill.ledger.ledger import Ledger, Renewal

from maskmill.errors import BrokerUnavailable, JobCancelled, LeaseLost

log = structlog.get_logger(__name__)

RENEW_SECONDS = 1.0
"""So often at least, because the answer also says whether the job is cancelled."""


@dataclass
class Lease:
    """Renews the claim; `check()` raises once another worker has it, `check_job()` once the job is cancelled."""

    ledger: Ledger
    job: str
    shard: int
    owner: str
    seconds: float

    def __post_init__(self) -> None:
        """Begin to renew."""
        self._stopped, self._lost, self._cancelled = Event(), Event(), Event()
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

    def check_job(self) -> None:
        """Raise `LeaseLost` or, if nothing more is to be done for the job, `JobCancelled`."""
        self.check()
        if self._cancelled.is_set():
            raise JobCancelled(f"job {self.job} is cancelled")

    def _renew(self) -> None:
        while not self._stopped.wait(min(RENEW_SECONDS, self.seconds / 3)):
            try:
                renewal = self.ledger.renew(self.job, self.shard, self.owner, self.seconds)
            except BrokerUnavailable as error:
                # The broker may be back before the lease expires; the commit finds out.
                log.warning("lease_not_renewed", job=self.job, shard=self.shard, reason=str(error))
                continue
            if renewal is Renewal.CANCELLED:
                self._cancelled.set()
            elif renewal is Renewal.LOST:
                self._lost.set()
                return
