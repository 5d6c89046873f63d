"""The one worker of a queue whose store cannot tell who was first: an office in the ledger, held while it lives."""

from __future__ import annotations

import os
import secrets
import signal
import time

import structlog

from maskmill.errors import BrokerUnavailable, UsageError
from maskmill.services import Services
from maskmill.storage.sole_writer import LOST

log = structlog.get_logger(__name__)

OFFICE = "sole_writer"
OFFICE_SECONDS = 15.0
"""How long the office outlives a worker that was killed; one that lives renews it three times in between."""

RETRY_SECONDS = 1.0


class SoleWriter:
    """This worker's hold on the office. Where the store has conditional puts there is none, and nothing is asked."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._needed = services.settings.store_without_conditions is not None
        self._name = f"{os.getpid()}:{secrets.token_hex(4)}"

    def begin(self) -> None:
        """Wait for the office for as long as one that was killed may hold it; raises `UsageError` after that."""
        if not self._needed:
            return
        log.warning("store_without_conditions", reason=LOST)
        deadline = time.monotonic() + 2 * OFFICE_SECONDS
        while not self._elected():
            if time.monotonic() > deadline:
                raise UsageError(
                    "another worker of this queue runs, and a store without conditional puts takes one alone: stop "
                    "that one, or use a store that has them and unset MASKMILL_STORE_WITHOUT_CONDITIONS"
                )
            time.sleep(RETRY_SECONDS)

    def go_on(self) -> None:
        """Renew the office; a worker that has lost it leaves, as at SIGTERM. Raises `BrokerUnavailable`."""
        if self._needed and not self._ledger.elect(self._name, OFFICE_SECONDS, OFFICE):
            log.error("sole_writer_lost", reason="another worker of this queue runs: this one leaves")
            os.kill(os.getpid(), signal.SIGTERM)

    def _elected(self) -> bool:
        """While the broker is away, nobody is, and the wait goes on."""
        while True:
            try:
                return self._ledger.elect(self._name, OFFICE_SECONDS, OFFICE)
            except BrokerUnavailable as error:
                if not error.retryable:
                    raise UsageError(str(error)) from error
                log.warning("broker_awaited", reason=str(error))
                time.sleep(10 * RETRY_SECONDS)
