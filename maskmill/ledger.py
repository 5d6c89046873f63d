"""The ledger: claims, leases, attempts, done bitmap and counters, in Redis, changed only by atomic scripts.

It is a cache of the bucket plus what is in flight. Its clock is the broker's (`TIME`), not the workers'.

Keys of a job: `…:meta` (hash: out, shards, images, next, counters), `…:done` (bitmap), `…:claims` (hash: shard →
owner), `…:open` (sorted set: shard → deadline in ms, of its lease when claimed, else of its announcement),
`…:attempts` (hash: shard → claims so far).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from maskmill.errors import BrokerUnavailable, JobNotFound
from maskmill.schema import Counts, Status

NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

# KEYS of every job script: meta, done, claims, open, attempts.
CLAIM = (
    NOW
    + """
local shard, owner, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 0 then return {'unknown', 0} end
if redis.call('GETBIT', KEYS[2], shard) == 1 then return {'done', 0} end
local held = redis.call('HGET', KEYS[3], shard)
if held and tonumber(redis.call('ZSCORE', KEYS[4], shard) or 0) > now then return {'held', 0} end
redis.call('HSET', KEYS[3], shard, owner)
redis.call('ZADD', KEYS[4], now + lease, shard)
return {'claimed', redis.call('HINCRBY', KEYS[5], shard, 1)}
"""
)

RENEW = (
    NOW
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[4], 'XX', now + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)

RELEASE = (
    NOW
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[3]), ARGV[1])
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[5], ARGV[1], -1) end
return 1
"""
)

COMMIT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local first = redis.call('SETBIT', KEYS[2], ARGV[1], 1) == 0
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
if not first then return 0 end
redis.call('HINCRBY', KEYS[1], 'shards_done', 1)
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""

ADMIT = (
    NOW
    + """
local window, hint, result = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
if redis.call('EXISTS', KEYS[1]) == 0 then return result end
local total = tonumber(redis.call('HGET', KEYS[1], 'shards'))
local next = tonumber(redis.call('HGET', KEYS[1], 'next') or 0)
local room = window - redis.call('ZCARD', KEYS[4])
while room > 0 and next < total do
  if redis.call('GETBIT', KEYS[2], next) == 0 and not redis.call('ZSCORE', KEYS[4], next) then
    redis.call('ZADD', KEYS[4], now + hint, next)
    result[#result + 1] = next
    room = room - 1
  end
  next = next + 1
end
redis.call('HSET', KEYS[1], 'next', next)
return result
"""
)

REAP = (
    NOW
    + """
local late = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, shard in ipairs(late) do
  redis.call('HDEL', KEYS[3], shard)
  redis.call('ZADD', KEYS[4], now + tonumber(ARGV[2]), shard)
end
return late
"""
)


class ClaimState(StrEnum):
    """What a claim found: only `CLAIMED` gives the right to work on the shard."""

    CLAIMED = "claimed"
    HELD = "held"
    DONE = "done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Claim:
    """The answer to a claim; `attempt` counts from 1 and is 0 when the shard was not won."""

    state: ClaimState
    attempt: int


@dataclass(frozen=True)
class Progress:
    """One job as the ledger sees it. `claimed` and `queued` are shards in flight."""

    job: str
    out: str
    images: int
    shards: int
    shards_done: int
    claimed: int
    queued: int
    counts: Counts
    failures: dict[str, int]

    @property
    def finished(self) -> bool:
        """Whether every shard is committed."""
        return self.shards_done >= self.shards


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn redis-py's errors into `BrokerUnavailable`, without the URL, which may carry a password."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise BrokerUnavailable(f"the broker cannot be reached ({type(error).__name__})") from error
    except RedisError as error:
        raise BrokerUnavailable(f"the broker refused: {error}") from error


def connect(url: str) -> Redis:
    """A client that gives up on a silent server instead of hanging (facts: black-holed brokers)."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        socket_keepalive=True,
        health_check_interval=25,
    )


class Ledger:
    """Atomic operations on the jobs of one queue. Every method raises `BrokerUnavailable` when it cannot act."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self.redis: Any = redis
        self._prefix = f"maskmill:{queue}"
        self._open_jobs = f"{self._prefix}:open"
        self._jobs = f"{self._prefix}:jobs"
        self._scripts = {
            name: redis.register_script(text)
            for name, text in (
                ("claim", CLAIM),
                ("renew", RENEW),
                ("release", RELEASE),
                ("commit", COMMIT),
                ("admit", ADMIT),
                ("reap", REAP),
            )
        }

    def _keys(self, job: str) -> list[str]:
        return [f"{self._prefix}:{{{job}}}:{part}" for part in ("meta", "done", "claims", "open", "attempts")]

    def _run(self, script: str, job: str, *arguments: Any) -> Any:
        with broker_errors():
            return self._scripts[script](keys=self._keys(job), args=list(arguments))

    def create(self, job: str, out: str, *, images: int, shards: int, created_seconds: float) -> None:
        """Enter a job, or leave it as it is when it is there."""
        meta = self._keys(job)[0]
        with broker_errors(), self.redis.pipeline() as pipe:
            for field, value in (("out", out), ("images", images), ("shards", shards), ("next", 0)):
                pipe.hsetnx(meta, field, value)
            pipe.zadd(self._jobs, {job: created_seconds}, nx=True)
            pipe.sadd(self._open_jobs, job)
            pipe.execute()

    def claim(self, job: str, shard: int, owner: str, lease_seconds: float) -> Claim:
        """Try to win the shard for `owner`; an expired lease is up for grabs."""
        state, attempt = self._run("claim", job, shard, owner, round(lease_seconds * 1000))
        return Claim(ClaimState(state), int(attempt))

    def renew(self, job: str, shard: int, owner: str, lease_seconds: float) -> bool:
        """Extend the lease; False when the shard is no longer `owner`'s."""
        return bool(self._run("renew", job, shard, owner, round(lease_seconds * 1000)))

    def release(self, job: str, shard: int, owner: str, *, delay_seconds: float = 0.0, counts: bool = True) -> bool:
        """Give the shard back; it is announced again after the delay. `counts` False forgives the attempt."""
        return bool(self._run("release", job, shard, owner, round(delay_seconds * 1000), int(counts)))

    def commit(self, job: str, shard: int, counts: Counts, failures: dict[str, int]) -> bool:
        """Close the shard; its counts are added the first time only. True if this was the first time."""
        amounts: list[Any] = []
        for status in Status:
            amounts += [status.value, getattr(counts, status.value)]
        for code, number in failures.items():
            amounts += [f"failed:{code}", number]
        return bool(self._run("commit", job, shard, *amounts))

    def admit(self, job: str, window: int, hint_seconds: float) -> list[int]:
        """The next shards to announce, so that at most `window` are queued or claimed."""
        return [int(shard) for shard in self._run("admit", job, window, round(hint_seconds * 1000))]

    def reap(self, job: str, limit: int, hint_seconds: float) -> list[int]:
        """Up to `limit` shards whose lease or announcement has expired, now to be announced again."""
        return [int(shard) for shard in self._run("reap", job, limit, round(hint_seconds * 1000))]

    def open_jobs(self) -> list[str]:
        """Ids of the jobs that have no closing account yet, oldest first."""
        with broker_errors():
            return sorted(self.redis.smembers(self._open_jobs))

    def jobs(self, newest: int = 50) -> list[str]:
        """Ids of the latest jobs, newest first."""
        with broker_errors():
            return list(self.redis.zrevrange(self._jobs, 0, newest - 1))

    def close(self, job: str) -> None:
        """Take the job off the open ones; its counters stay for `status`."""
        with broker_errors():
            self.redis.srem(self._open_jobs, job)

    def out(self, job: str) -> str:
        """The job's output prefix; raises `JobNotFound`."""
        with broker_errors():
            out = self.redis.hget(self._keys(job)[0], "out")
        if out is None:
            raise JobNotFound(f"the ledger knows no job '{job}'; `maskmill status` lists the jobs")
        return str(out)

    def progress(self, job: str) -> Progress:
        """The job's counters, in one round trip; raises `JobNotFound`."""
        meta, _, claims, opened, _ = self._keys(job)
        with broker_errors(), self.redis.pipeline() as pipe:
            fields, claimed, flying = pipe.hgetall(meta).hlen(claims).zcard(opened).execute()
        if not fields:
            raise JobNotFound(f"the ledger knows no job '{job}'; `maskmill status` lists the jobs")
        return Progress(
            job=job,
            out=fields["out"],
            images=int(fields["images"]),
            shards=int(fields["shards"]),
            shards_done=int(fields.get("shards_done", 0)),
            claimed=claimed,
            queued=flying - claimed,
            counts=Counts(**{status.value: int(fields.get(status.value, 0)) for status in Status}),
            failures=_failures(fields),
        )

    def done(self, job: str, shards: Sequence[int]) -> list[bool]:
        """For each of the shards, whether it is committed."""
        with broker_errors(), self.redis.pipeline() as pipe:
            for shard in shards:
                pipe.getbit(self._keys(job)[1], shard)
            return [bool(bit) for bit in pipe.execute()]

    def queue_length(self, queue: str) -> int:
        """Messages that wait in the Celery queue."""
        with broker_errors():
            return int(self.redis.llen(queue))

    def forget(self, jobs: Iterable[str]) -> None:
        """Drop all that the ledger has of these jobs (their objects stay in the bucket)."""
        with broker_errors():
            for job in jobs:
                self.redis.delete(*self._keys(job))
                self.redis.zrem(self._jobs, job)
                self.redis.srem(self._open_jobs, job)


def _failures(fields: dict[str, str]) -> dict[str, int]:
    codes = {name.removeprefix("failed:"): int(n) for name, n in fields.items() if name.startswith("failed:")}
    return dict(sorted(codes.items()))
