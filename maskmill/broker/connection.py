"""The ledger's connection to the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from maskmill.broker.address import BrokerAddress
from maskmill.broker.meaning import meaning

WRONG_SERVER = (ReadOnlyError, MasterDownError)
"""Answers of a server that is no primary: a new connection may reach the one that is (redis-py keeps the old)."""


PATIENCE_SECONDS = 5.0
"""How long a lost connection is made again; what timed out took longer, and is not asked again."""


class Patience(Retry):
    """Tries again what may pass, at once and then up to a second later.

    What the broker refuses for good is said at once: redis-py takes a wrong password for a lost connection.
    """

    def __init__(self) -> None:
        super().__init__(ExponentialWithJitterBackoff(base=0.01, cap=1), 10)

    # As in redis-py 6, without what later versions add: it is passed on.
    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, *more: Any, **named: Any) -> Any:
        """What `do` returns; `fail` hears of each error."""
        last = time.monotonic() + PATIENCE_SECONDS

        def may_pass(error: Exception) -> bool:
            passes = meaning(error).retryable and time.monotonic() < last
            return passes and (is_retryable is None or is_retryable(error))

        return super().call_with_retry(do, fail, may_pass, *more, **named)


def connect(url: str, tls: Mapping[str, Any] | None = None) -> Redis:
    """A client that gives up on a silent server instead of hanging; nothing is sent before its first use.

    `tls` are redis-py's own options beside those of the address, see `Settings.broker_tls`.
    """
    address = BrokerAddress.parse(url)
    login = {"username": address.username, "password": address.password, "db": address.database}
    shared = {**login, **address.times, "decode_responses": True, "retry": Patience()}
    if address.scheme == "sentinel":
        sentinels: Any = Sentinel  # redis-py types it by half
        found = sentinels(list(address.hosts), sentinel_kwargs=address.sentinel_login, **shared)
        return cast("Redis", found.master_for(address.master_name, redis_class=Redis))
    if address.scheme == "unix":
        return Redis(unix_socket_path=address.path, **shared)
    host, port = address.hosts[0]
    return Redis(host=host, port=port, ssl=bool(address.tls), **{**address.tls, **(tls or {})}, **shared)


@contextmanager
def broker_errors(redis: Redis) -> Iterator[None]:
    """Turn redis-py's errors into `BrokerUnavailable`, without the URL, which may carry a password."""
    try:
        yield
    except (RedisError, OSError) as error:
        if isinstance(error, WRONG_SERVER):
            redis.connection_pool.disconnect(inuse_connections=False)
        raise meaning(error, _where(redis)) from error


def _where(redis: Redis) -> str:
    """`broker.lan:6379`, or the path of a socket; of sentinels nothing."""
    options = redis.connection_pool.connection_kwargs
    return str(options.get("path") or (f"{options['host']}:{options['port']}" if "host" in options else ""))
