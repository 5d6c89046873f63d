"""Whether a broker will do: one that evicts keys, is a replica or a cluster, or refuses what is needed, loses work."""

from __future__ import annotations

import secrets
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError

from maskmill.errors import BrokerRefused, UsageError
from maskmill.ledger.table import Table


def check_broker(redis: Redis, queue: str = "check") -> list[str]:
    """What is wrong with the broker for good, a line each with its cure; [] when nothing is.

    Raises `BrokerUnavailable` when it cannot be asked. Leaves nothing behind.

    Example: check_broker(connect(url)) gives ["the broker may evict keys (maxmemory-policy allkeys-lru): …"].
    """
    table = Table(redis, queue)
    with table.errors():
        wrong = [_cluster(redis), _replica(redis), _eviction(redis)]
    found = [line for line in wrong if line]
    return found if wrong[0] or wrong[1] else found + _rights(table)


def refuse_cluster(redis: Redis, queue: str = "check") -> None:
    """Raise `UsageError` for a Redis Cluster: all else that is wrong can be mended while workers run."""
    with Table(redis, queue).errors():
        problem = _cluster(redis)
    if problem:
        raise UsageError(problem)


def _cluster(redis: Redis) -> str:
    if not int(_info(redis, "cluster").get("cluster_enabled", 0)):
        return ""
    return "the broker is a Redis Cluster, over which a job's keys would be spread: use a single primary with replicas"


def _replica(redis: Redis) -> str:
    if _info(redis, "replication").get("role", "master") == "master":
        return ""
    return "the broker is a replica, which takes no writes: let MASKMILL_BROKER_URL name its primary"


def _eviction(redis: Redis) -> str:
    policy = _info(redis, "memory").get("maxmemory_policy") or _configured(redis, "maxmemory-policy") or "noeviction"
    if policy == "noeviction":
        return ""
    return f"the broker may evict keys (maxmemory-policy {policy}): set its maxmemory-policy to noeviction"


def _rights(table: Table) -> list[str]:
    token = secrets.token_hex(4)
    try:
        table.run("check", token)
        with table.errors(), table.redis.pipeline() as pipe:
            pipe.hset(table.key(f"check:{token}", "beside"), "a", 1).delete(table.key(f"check:{token}", "beside"))
            pipe.hgetall(table.key("check")).hkeys(table.key("check")).smembers(table.key("check"))
            pipe.execute()
    except BrokerRefused as error:
        return [str(error)]
    return []


def _info(redis: Any, section: str) -> dict[str, Any]:
    """Of this section; {} when this user may not ask."""
    try:
        return dict(redis.info(section))
    except NoPermissionError:
        return {}


def _configured(redis: Any, name: str) -> str:
    try:
        return str(redis.config_get(name).get(name, ""))
    except NoPermissionError:
        return ""
