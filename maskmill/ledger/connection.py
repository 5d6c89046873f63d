"""The connection to the broker, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from maskmill.errors import BrokerRefused, BrokerUnavailable

WRONG_SERVER = (ReadOnlyError, MasterDownError)
"""Answers of a server that is no primary: a new connection may reach the one that is (redis-py keeps the old)."""

REASONS: tuple[tuple[type[RedisError], type[BrokerUnavailable], str], ...] = (
    (AuthenticationError, BrokerRefused, "the broker refuses the user or password in MASKMILL_BROKER_URL"),
    (AuthorizationError, BrokerRefused, "the broker refuses the user in MASKMILL_BROKER_URL"),
    (ReadOnlyError, BrokerUnavailable, "the broker is a read-only replica: MASKMILL_BROKER_URL must name the primary"),
    (MasterDownError, BrokerUnavailable, "the broker is a replica that has lost its primary"),
    (BusyLoadingError, BrokerUnavailable, "the broker is still loading its data from disk"),
    (OutOfMemoryError, BrokerUnavailable, "the broker's memory is full: raise its maxmemory"),
)
"""What an error means, by its class; the first that fits counts."""

RIGHTS = "give its user the rights +@all -@dangerous +info ~maskmill*, and those that Celery needs"


GENERIC_CODE = "ERR"
"""The protocol's code for what will not be done for this user or in this mode, such as a script's command without the
right to it; what passes has a code of its own (MISCONF, BUSY, NOREPLICAS…). Before 8.0 redis-py does not tell."""


def connect(url: str, tls: Mapping[str, Any] | None = None) -> Redis:
    """A client that gives up on a silent server instead of hanging (facts: black-holed brokers).

    `tls` are redis-py's own options, see `Settings.broker_tls`.
    """
    return Redis.from_url(
        url,
        **(tls or {}),
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        socket_keepalive=True,
        health_check_interval=25,
    )


@contextmanager
def broker_errors(redis: Redis) -> Iterator[None]:
    """Turn redis-py's errors into `BrokerUnavailable`, without the URL, which may carry a password."""
    try:
        yield
    except (RedisError, OSError) as error:
        if isinstance(error, WRONG_SERVER):
            redis.connection_pool.disconnect(inuse_connections=False)
        raise meaning(error) from error


def meaning(error: RedisError | OSError) -> BrokerUnavailable:
    """The error that says what the broker's answer, or its silence, means."""
    for kind, ours, reason in REASONS:
        if isinstance(error, kind):
            return ours(reason)
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
        return BrokerUnavailable.unreachable(error)
    if isinstance(error, NoPermissionError):
        return BrokerRefused(f"the broker refuses what the ledger needs ({error}): {RIGHTS}")
    if getattr(error, "status_code", None) == GENERIC_CODE:
        return BrokerRefused(f"the broker refused ({error}); if it is for want of a right, {RIGHTS}")
    return BrokerUnavailable(f"the broker refused: {error}")
