"""The ledger's connection to the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from redis import Redis
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError
from redis.sentinel import Sentinel

from maskmill.broker.address import BrokerAddress
from maskmill.broker.meaning import meaning

WRONG_SERVER = (ReadOnlyError, MasterDownError)
"""Answers of a server that is no primary: a new connection may reach the one that is (redis-py keeps the old)."""


def connect(url: str, tls: Mapping[str, Any] | None = None) -> Redis:
    """A client that gives up on a silent server instead of hanging; nothing is sent before its first use.

    `tls` are redis-py's own options beside those of the address, see `Settings.broker_tls`.
    """
    address = BrokerAddress.parse(url)
    login = {"username": address.username, "password": address.password, "db": address.database}
    shared = {**login, **address.times, "decode_responses": True}
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
        raise meaning(error) from error
