"""What is tried before work begins: broker, store and machine, by submitters, by workers and by `maskmill doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from maskmill.checks import Check
from maskmill.errors import MaskmillError
from maskmill.ledger.broker import check_broker, require_broker
from maskmill.machine import check_machine
from maskmill.services import Services
from maskmill.storage.probe import check_store, require_store
from maskmill.storage.sole_writer import LOST

log = structlog.get_logger(__name__)

UNREACHABLE = ("broker: reachable", "store: reachable")
"""The checks that fail when a server does not answer."""


def examine(services: Services, out: str, folders: Iterable[Path] = ()) -> list[Check]:
    """Try all three, whatever is wrong with one of them.

    `[check.problem for check in examine(services, "s3://bucket/labels") if not check.ok]`
    """
    settings = services.settings
    return [
        *check_machine(settings, folders),
        *_reached("broker: reachable", lambda: check_broker(services.ledger.redis, settings.queue)),
        *_reached("store: reachable", lambda: check_store(services.store(out))),
        *_single_writer(services),
    ]


def require_servers(services: Services, out: str) -> None:
    """Raise what makes work impossible: `BrokerRefused`, `StoreRefused` or an outage; log what is wrong besides."""
    settings = services.settings
    found = require_broker(services.ledger.redis, settings.queue) + require_store(services.store(out))
    for check in found:
        if not check.ok:
            log.warning("server_unfit", check=check.name, reason=check.problem)


def _reached(name: str, ask: Callable[[], list[Check]]) -> list[Check]:
    try:
        found = ask()
    except MaskmillError as error:
        return [Check(name, str(error))]
    answered = [Check(name)] if any(check.ok for check in found) else []  # without credentials nobody is asked
    return [*answered, *found]


def _single_writer(services: Services) -> list[Check]:
    if not services.settings.store_without_conditions:
        return []
    return [Check("store: single writer", LOST, fatal=False)]
