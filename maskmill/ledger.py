"""The ledger: claims, leases, attempts, done bitmap and counters, in Redis, changed only by atomic scripts.

It is a cache of the bucket plus what is in flight. Its clock is the broker's (`TIME`), not the workers'.
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
from maskmill.ledger_scripts import SCRIPTS
from maskmill.schema import Counts, Status

MAX_SCANNED = 1000
"""Shards in flight of one job that are looked through for one that nobody has begun."""


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
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}

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

    def next(self, job: str, owner: str, lease_seconds: float) -> tuple[int, int] | None:
        """Win the job's next shard without waiting for its message: (shard, attempt), or None if there is none.

        Shards that were begun before are left to their messages, which come after their delay.
        """
        shard, attempt = self._run("next", job, owner, round(lease_seconds * 1000), MAX_SCANNED)
        return None if int(shard) < 0 else (int(shard), int(attempt))

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
        """The next shards to announce: at most `window` wait for a worker, and as many messages are on their way."""
        return [int(shard) for shard in self._run("admit", job, window, round(hint_seconds * 1000))]

    def reap(self, job: str, limit: int, hint_seconds: float, room: int, queued: int) -> list[int]:
        """Up to `limit` shards to announce again: lost or given-back claims, and up to `room` unheard announcements.

        `queued` is the number of messages in the queue, of whatever job.
        """
        return [int(shard) for shard in self._run("reap", job, limit, round(hint_seconds * 1000), room, queued)]

    def open_jobs(self) -> list[str]:
        """Ids of the jobs that have no closing account yet, oldest first."""
        with broker_errors():
            return sorted(self.redis.smembers(self._open_jobs))

    def jobs(self, newest: int = 50) -> list[str]:
        """Ids of the latest jobs, newest first."""
        with broker_errors():
            return list(self.redis.zrevrange(self._jobs, 0, newest - 1))

    def alone(self, job: str) -> bool:
        """Whether no other job is open."""
        with broker_errors():
            return not set(self.redis.smembers(self._open_jobs)) - {job}

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
