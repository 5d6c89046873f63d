"""The ledger: claims, leases, attempts, done bitmap and counters, in Redis, changed only by atomic scripts.

It is a cache of the bucket plus what is in flight. Its clock is the broker's (`TIME`), not the workers'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from maskmill.errors import BrokerUnavailable, JobNotFound
from maskmill.ledger.answers import Claim, ClaimState, Load, Progress
from maskmill.ledger.scripts import SCRIPTS
from maskmill.schema import Counts, Status

MAX_SCANNED = 1000
"""Shards in flight of one job that are looked through for one that nobody has."""

WORKER_SECONDS = 30.0
"""How long a worker counts as there after it was last heard of."""


class Renewal(IntEnum):
    """What became of a lease that was to be renewed."""

    LOST = 0
    RENEWED = 1
    CANCELLED = 2


class Booking(IntEnum):
    """What a commit did: nothing (not the first), booked the shard, or booked it and overran the failure budget."""

    IGNORED = 0
    BOOKED = 1
    OVER_BUDGET = 2


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn redis-py's errors into `BrokerUnavailable`, without the URL, which may carry a password."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise BrokerUnavailable.unreachable(error) from error
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
        self._workers = f"{self._prefix}:workers"
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}

    def _keys(self, job: str) -> list[str]:
        parts = ("meta", "done", "claims", "open", "attempts", "notes")
        return [f"{self._prefix}:{{{job}}}:{part}" for part in parts]

    def _run(self, script: str, job: str, *arguments: Any) -> Any:
        with broker_errors():
            return self._scripts[script](keys=self._keys(job), args=list(arguments))

    def create(
        self,
        job: str,
        out: str,
        *,
        images: int,
        shards: int,
        created_seconds: float,
        priority: int = 0,
        max_failures: int | None = None,
        round: int = 0,  # noqa: A002 - the word for it
    ) -> None:
        """Enter a job, or leave it as it is when it is there. More than `max_failures` failed images cancel it."""
        meta = self._keys(job)[0]
        fields = {"out": out, "images": images, "shards": shards, "next": 0, "priority": priority, "round": round}
        if max_failures is not None:
            fields["max_failures"] = max_failures
        with broker_errors(), self.redis.pipeline() as pipe:
            for field, value in fields.items():
                pipe.hsetnx(meta, field, value)
            pipe.zadd(self._jobs, {job: created_seconds}, nx=True)
            pipe.sadd(self._open_jobs, job)
            pipe.execute()

    def claim(self, job: str, shard: int, owner: str, lease_seconds: float, *, settle: bool = False) -> Claim:
        """Try to win the shard for `owner`; an expired lease is up for grabs.

        Shards of a cancelled job are for those alone who want to `settle` them: account for them, not work on them.
        """
        return _claim(self._run("claim", job, shard, owner, round(lease_seconds * 1000), int(settle)))

    def next(self, job: str, owner: str, lease_seconds: float) -> Claim:
        """Win the next of the job's shards that nobody has, without waiting for its message.

        Shards that failed and wait for their next attempt are left alone until their delay is over.
        """
        return _claim(self._run("next", job, owner, round(lease_seconds * 1000), MAX_SCANNED))

    def renew(self, job: str, shard: int, owner: str, lease_seconds: float) -> Renewal:
        """Extend the lease, if the shard is still `owner`'s."""
        return Renewal(self._run("renew", job, shard, owner, round(lease_seconds * 1000)))

    def release(self, job: str, shard: int, owner: str, *, delay_seconds: float = 0.0, counts: bool = True) -> bool:
        """Give the shard back, to be taken after the delay. `counts` False forgives the attempt."""
        return bool(self._run("release", job, shard, owner, round(delay_seconds * 1000), int(counts)))

    def note(self, job: str, owner: str, notes: Mapping[int, str]) -> None:
        """Leave a text with each of these shards, if it is `owner`'s, for whoever claims it after a crash; '': none."""
        pairs = [part for shard, text in notes.items() for part in (shard, text)]
        self._run("note", job, owner, *pairs)

    def commit(self, job: str, shard: int, counts: Counts, failures: dict[str, int], *, round: int = 0) -> Booking:  # noqa: A002 - as above
        """Close the shard in this round; its counts are added the first time only."""
        amounts: list[Any] = []
        for status in Status:
            amounts += [status.value, getattr(counts, status.value)]
        for code, number in failures.items():
            amounts += [f"failed:{code}", number]
        return Booking(self._run("commit", job, shard, round, *amounts))

    def cancel(self, job: str) -> None:
        """Let nobody begin a shard of the job any more, and those who have one stop; raises `JobNotFound`."""
        self.out(job)
        with broker_errors():
            self.redis.hset(self._keys(job)[0], "halted", 1)

    def begun(self, job: str) -> list[int]:
        """The shards that have, or have had, an owner and are not committed."""
        with broker_errors():
            return sorted(int(shard) for shard in self.redis.hkeys(self._keys(job)[4]))

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

    def loads(self) -> list[Load]:
        """The open jobs with shards that a worker could take now, oldest first, in two round trips."""
        jobs = self.open_jobs()
        with broker_errors(), self.redis.pipeline() as pipe:
            for job in jobs:
                meta, _, claims, opened, *_ = self._keys(job)
                pipe.hmget(meta, "out", "priority", "shards", "next", "halted").hlen(claims).zcard(opened)
            answers = pipe.execute()
        found = []
        for job, (fields, claimed, flying) in zip(jobs, zip(*[iter(answers)] * 3, strict=True), strict=True):
            out, priority, shards, following, halted = fields
            if out and not halted and (flying > claimed or int(following or 0) < int(shards or 0)):
                found.append(Load(job, out, int(priority or 0), claimed))
        return found

    def alive(self, worker: str) -> None:
        """Note that this worker is there."""
        with broker_errors():
            now = self.redis.time()[0]
            self.redis.zadd(self._workers, {worker: now})
            self.redis.zremrangebyscore(self._workers, "-inf", now - 10 * WORKER_SECONDS)

    def workers(self) -> int:
        """How many workers were there in the last `WORKER_SECONDS`."""
        with broker_errors():
            return int(self.redis.zcount(self._workers, self.redis.time()[0] - WORKER_SECONDS, "+inf"))

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
        [progress] = self.progress_of([job])
        if progress is None:
            raise JobNotFound(f"the ledger knows no job '{job}'; `maskmill status` lists the jobs")
        return progress

    def progress_of(self, jobs: Sequence[str]) -> list[Progress | None]:
        """The counters of these jobs, None for one that is not there, in one round trip."""
        with broker_errors(), self.redis.pipeline() as pipe:
            for job in jobs:
                meta, _, claims, opened, attempts, _ = self._keys(job)
                pipe.hgetall(meta).hlen(claims).zcard(opened).hlen(attempts)
            answers = iter(pipe.execute())
        return [
            _progress(job, *found) if found[0] else None
            for job, found in zip(jobs, zip(*[answers] * 4, strict=True), strict=True)
        ]

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


def _claim(answer: Sequence[Any]) -> Claim:
    state, *won = answer
    return Claim(ClaimState(state), *won)


def _progress(job: str, fields: dict[str, str], claimed: int, flying: int, begun: int) -> Progress:
    return Progress(
        job=job,
        out=fields["out"],
        images=int(fields["images"]),
        shards=int(fields["shards"]),
        shards_done=int(fields.get("shards_done", 0)),
        claimed=claimed,
        queued=flying - claimed,
        begun=begun,
        cancelled="halted" in fields,
        round=int(fields.get("round", 0)),
        decided=Counts(**{status.value: int(fields.get(status.value, 0)) for status in Status}),
        failures=_failures(fields),
    )


def _failures(fields: dict[str, str]) -> dict[str, int]:
    codes = {name.removeprefix("failed:"): int(n) for name, n in fields.items() if name.startswith("failed:")}
    return dict(sorted(codes.items()))
