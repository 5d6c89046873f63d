"""The worker tells the ledger that it is there and what it does, from its start to its end.

Whoever waits for a job learns by this that no worker is there, that one starts, or that all are busy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from maskmill.errors import BrokerUnavailable
from maskmill.ledger.ledger import Ledger
from maskmill_worker.process.drain import draining
from maskmill_worker.process.health import HeartbeatFile, State

ANNOUNCE_SECONDS = 2.0


@contextmanager
def announced(ledger: Ledger, file: HeartbeatFile) -> Iterator[None]:
    """For the length of the block; without a broker, nobody is told."""
    left = Event()
    thread = Thread(target=_announce, args=(ledger, file, left), name="announce", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join(ANNOUNCE_SECONDS)  # no longer: a broker that is away answers late


def _announce(ledger: Ledger, file: HeartbeatFile, left: Event) -> None:
    while True:
        with suppress(BrokerUnavailable):
            ledger.alive(file.node, State.DRAINING if draining() else file.state)
        if left.wait(ANNOUNCE_SECONDS):
            break
    with suppress(BrokerUnavailable):
        ledger.left(file.node)
