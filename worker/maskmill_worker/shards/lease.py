"""The leases of the shards in hand, renewed in the background.

A lease that has run out is renewed too, as long as nobody else has claimed the shard. With each renewal goes what there
is to say of the shard, for whoever watches the job.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread

import structlog

from maskmill.errors import one_line
from maskmill.ledger.answers import InHand, Renewal
from maskmill.ledger.ledger import Ledger

log = structlog.get_logger(__name__)

RENEW_SECONDS = 1.0
"""So often at least, because the answer also says whether the job is cancelled."""


class Leases:
    """Renews the leases of one owner's shards of one job, all in one call, from a thread of its own."""

    def __init__(self, ledger: Ledger, job: str, owner: str, seconds: float, said_of: Callable[[int], InHand]) -> None:
        self.ledger, self.job, self.owner, self.seconds = ledger, job, owner, seconds
        self._said_of = said_of
        self.cancelled = Event()
        self._lock = Lock()
        self._shards: set[int] = set()
        self._lost: set[int] = set()
        self._stopped = Event()
        self._thread = Thread(target=self._renew_all, name="leases", daemon=True)
        self._thread.start()

    def add(self, shard: int) -> None:
        """Renew this shard's lease from now on."""
        with self._lock:
            self._shards.add(shard)

    def drop(self, shard: int) -> None:
        """Renew it no more."""
        with self._lock:
            self._shards.discard(shard)
            self._lost.discard(shard)

    def is_lost(self, shard: int) -> bool:
        """Whether the ledger says that the shard is no longer this owner's."""
        return shard in self._lost

    def lost(self) -> list[int]:
        """The shards that are no longer this owner's: claimed by another, booked, or the ledger was built anew."""
        with self._lock:
            return sorted(self._lost)

    def stop(self) -> None:
        """Renew nothing any more."""
        self._stopped.set()
        self._thread.join()

    def _renew_all(self) -> None:
        while not self._stopped.wait(min(RENEW_SECONDS, self.seconds / 3)):
            with self._lock:
                shards = sorted(self._shards - self._lost)
            if shards:
                try:
                    self._renew(shards)
                except Exception as error:  # noqa: BLE001 - a thread that ended would lose every lease
                    log.warning("leases_not_renewed", job=self.job, shards=shards, reason=one_line(error))

    def _renew(self, shards: list[int]) -> None:
        said = {shard: self._said_of(shard) for shard in shards}
        renewals = self.ledger.renew(self.job, shards, self.owner, self.seconds, said)
        with self._lock:
            self._lost |= {shard for shard, found in renewals.items() if found is Renewal.LOST} & self._shards
        if Renewal.CANCELLED in renewals.values():
            self.cancelled.set()
