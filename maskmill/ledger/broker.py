"""Whether a broker will do: one that evicts keys, is a replica or a cluster, or refuses what is needed, loses work."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from maskmill.broker.address import CLUSTER
from maskmill.broker.meaning import meaning
from maskmill.checks import Check, first_fatal, require
from maskmill.errors import BrokerRefused, UsageError
from maskmill.ledger.table import Table

CLOCK_SECONDS = 60.0
"""How far this machine's clock may be from the broker's before somebody should look: dates of jobs are ours."""

MEMORY_SHARE = 0.9


def check_broker(redis: Redis, queue: str = "check") -> list[Check]:
    """What was tried of the broker, and what is wrong for good; leaves nothing behind.

    Raises `BrokerUnavailable` when it cannot be asked.

    Example: check_broker(connect(url)) has Check("broker: eviction", "the broker may evict keys (maxmemory-policy
    allkeys-lru): …", fatal=False) for a cache.
    """
    table = Table(redis, queue)
    with table.errors():
        redis.ping()
        kind = [_cluster(redis), _role(redis)]
    if first_fatal(kind):
        return kind
    with table.errors():
        state = [_eviction(redis), _memory(redis), _clock(redis)]
    return [*kind, *state, _try("broker: rights of the ledger", table, _use_ledger), *_queue_rights(table, queue)]


def require_broker(redis: Redis, queue: str) -> list[Check]:
    """The checks; raises `BrokerRefused` for what nothing works without, and `BrokerUnavailable`."""
    return require(check_broker(redis, queue), BrokerRefused)


def refuse_cluster(redis: Redis, queue: str = "check") -> None:
    """Raise `UsageError` for a Redis Cluster: all else that is wrong can be mended while workers run."""
    with Table(redis, queue).errors():
        check = _cluster(redis)
    require([check], UsageError)


def _cluster(redis: Redis) -> Check:
    is_one = int(_info(redis, "cluster").get("cluster_enabled", 0))
    return Check("broker: no cluster", CLUSTER if is_one else "")


def _role(redis: Redis) -> Check:
    primary = _info(redis, "replication").get("role", "master") == "master"
    problem = "the broker is a replica, which takes no writes: let MASKMILL_BROKER_URL name its primary"
    return Check("broker: role", "" if primary else problem)


def _eviction(redis: Redis) -> Check:
    policy = _info(redis, "memory").get("maxmemory_policy") or _configured(redis, "maxmemory-policy") or "noeviction"
    problem = (
        f"the broker may evict keys (maxmemory-policy {policy}), and with them a job's place in the queue: set its "
        "maxmemory-policy to noeviction"
    )
    return Check("broker: eviction", "" if policy == "noeviction" else problem, fatal=False)


def _memory(redis: Redis) -> Check:
    memory = _info(redis, "memory")
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    problem = f"the broker has {used:,} of its {most:,} bytes in use: raise its maxmemory before it refuses jobs"
    return Check("broker: memory", problem if most and used > MEMORY_SHARE * most else "", fatal=False)


def _clock(redis: Any) -> Check:
    away = time.time() - redis.time()[0]
    problem = f"this machine's clock is {away:+.0f} s from the broker's: set it right (NTP), jobs are dated by it"
    return Check("broker: clock", problem if abs(away) > CLOCK_SECONDS else "", fatal=False)


def _queue_rights(table: Table, queue: str) -> list[Check]:
    """Celery's part: what it does to lists, sets and hashes, and the very keys that it does it to."""
    return [
        _try("broker: rights of the queue", table, _use_as_queue),
        _try("broker: keys of the queue", table, lambda table, token: _touch_keys(table, queue, token)),
    ]


def _try(name: str, table: Table, use: Callable[[Table, str], None]) -> Check:
    try:
        use(table, secrets.token_hex(4))
    except BrokerRefused as error:
        return Check(name, str(error))
    return Check(name)


def _use_ledger(table: Table, token: str) -> None:
    table.run("check", token)
    beside = table.key(f"check:{token}", "beside")
    with table.errors(), table.redis.pipeline() as pipe:
        pipe.hset(beside, "a", 1).delete(beside)
        pipe.hgetall(table.key("check")).hkeys(table.key("check")).smembers(table.key("check"))
        pipe.execute()


def _use_as_queue(table: Table, token: str) -> None:
    """What kombu's Redis transport does, on keys that are gone afterwards."""
    line, held, order, group = (table.key(f"check:{token}", part) for part in ("list", "hash", "zset", "set"))
    with table.errors(), _gone_afterwards(table, line, held, order, group):
        table.redis.lpush(line, token)
        table.redis.brpop([line], timeout=1)
        with table.redis.pipeline(transaction=True) as pipe:
            pipe.rpush(line, token).llen(line).lrem(line, 0, token)
            pipe.hset(held, "a", 1).hget(held, "a").hdel(held, "a")
            pipe.zadd(order, {"a": 1}).zrevrangebyscore(order, 1, 0, start=0, num=1, withscores=True).zrem(order, "a")
            pipe.sadd(group, "a").smembers(group).srem(group, "a")
            pipe.execute()


@contextmanager
def _gone_afterwards(table: Table, *names: str) -> Iterator[None]:
    """Also when the user may do one thing and not the next."""
    try:
        yield
    finally:
        with suppress(RedisError):
            table.redis.delete(*names)


def _touch_keys(table: Table, queue: str, token: str) -> None:
    """Write to Celery's own keys what changes nothing there: it removes a member that nobody put."""
    commands: tuple[tuple[str | int, ...], ...] = (
        ("LREM", queue, 0, token),
        ("SREM", f"_kombu.binding.{queue}", token),
        ("HDEL", "unacked", token),
        ("ZREM", "unacked_index", token),
        ("SETRANGE", "unacked_mutex", 0, ""),
    )
    for command in commands:
        try:
            table.redis.execute_command(*command)
        except NoPermissionError as error:
            raise meaning(NoPermissionError(f"{error} (key '{command[1]}')")) from error
        except RedisError as error:
            raise meaning(error) from error


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
