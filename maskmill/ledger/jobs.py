"""The jobs of a queue: entered, cancelled, closed, listed, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskmill.errors import JobNotFound
from maskmill.ledger.answers import InHand, Progress
from maskmill.ledger.table import Table, milliseconds
from maskmill.schema import Counts, FailureExample, Status


class Jobs(Table):
    """The life of a job in the ledger."""

    def create(
        self,
        job: str,
        out: str,
        *,
        model: str,
        images: int,
        shards: int,
        created_seconds: float,
        priority: int = 0,
        max_failures: int | None = None,
        retry_round: int = 0,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        """Enter a job, or leave it as it is when it is there. More than `max_failures` failed images cancel it.

        A new job goes before those of the same priority that were served already.
        """
        fields = fields_of(out, model, images, shards, priority, max_failures, retry_round, left_out or {})
        self.run("create", job, created_seconds, *(part for pair in fields.items() for part in pair))

    def cancel(self, job: str) -> None:
        """Let nobody begin a shard of the job any more, and those who have one stop; raises `JobNotFound`."""
        if not self.run("cancel", job):
            raise unknown(job)

    def close(self, job: str, retry_round: int, keep_seconds: float) -> None:
        """Take a job that has its manifest off the open ones; its counters stay for `status` so long.

        Nothing happens when the job is in a later round than the one whose manifest this is.
        """
        self.run("close", job, retry_round, milliseconds(keep_seconds))

    def trouble(self, job: str, reason: str) -> None:
        """Note what keeps the workers from going on with the job; the next shard that is booked takes it back."""
        self.run("tell", job, "trouble", reason)

    def made_of(self, job: str, files: str) -> None:
        """Note which files the job's model is made of (`ModelIdentity.files`)."""
        self.run("tell", job, "files", files)

    def forget(self, job: str) -> None:
        """Drop all that the ledger has of the job (its objects stay in the bucket)."""
        self.run("forget", job)

    def begun(self, job: str) -> list[int]:
        """The shards that have, or have had, an owner and are not booked."""
        with self.errors():
            return sorted(int(shard) for shard in self.redis.hkeys(self.key(job, "attempts")))

    def open_jobs(self) -> list[str]:
        """Ids of the jobs that have no closing account yet, oldest first."""
        with self.errors():
            return sorted(self.redis.smembers(self.key("open")))

    def closing(self) -> list[str]:
        """Ids of the jobs whose last shard is booked, or that are cancelled, and that have no manifest yet."""
        with self.errors():
            return sorted(self.redis.smembers(self.key("closing")))

    def jobs(self, newest: int = 50) -> list[str]:
        """Ids of the latest jobs, newest first."""
        return list(self.run("jobs", newest))

    def claimable(self, limit: int) -> int:
        """How many shards could be claimed now, over all jobs, counted up to `limit`."""
        return int(self.run("claimable", limit))

    def out(self, job: str) -> str:
        """The job's output prefix; raises `JobNotFound`."""
        with self.errors():
            out = self.redis.hget(self.key(job, "meta"), "out")
        if out is None:
            raise unknown(job)
        return str(out)

    def progress(self, job: str) -> Progress:
        """The job's counters; raises `JobNotFound`."""
        found = self.progress_of([job])[0]
        if found is None:
            raise unknown(job)
        return found

    def progress_of(self, jobs: Sequence[str]) -> list[Progress | None]:
        """The counters of each of these jobs in one round trip; None for those that the ledger does not know."""
        with self.errors(), self.redis.pipeline() as pipe:
            for job in jobs:
                pipe.hgetall(self.key(job, "meta")).hkeys(self.key(job, "owners"))
                pipe.zcard(self.key(job, "waiting")).hlen(self.key(job, "attempts"))
                pipe.hgetall(self.key(job, "in_hand"))
            answers = iter(pipe.execute())
        each = zip(jobs, answers, answers, answers, answers, answers, strict=True)
        return [_progress(*found) if "shards" in found[1] else None for found in each]


def fields_of(
    out: str,
    model: str,
    images: int,
    shards: int,
    priority: int,
    max_failures: int | None,
    retry_round: int,
    left_out: Mapping[str, int],
) -> dict[str, str | int]:
    """The fields of a job's `meta` that its submission decides."""
    fields: dict[str, str | int] = {"out": out, "model": model, "images": images, "shards": shards}
    fields |= {"priority": priority, "round": retry_round}
    fields |= {f"left:{reason}": number for reason, number in left_out.items()}
    return fields if max_failures is None else fields | {"max_failures": max_failures}


def unknown(job: str) -> JobNotFound:
    """The error for a job that the ledger does not know."""
    return JobNotFound(f"the ledger knows no job '{job}'; `maskmill status` lists the jobs")


def _progress(
    job: str, meta: Mapping[str, str], owned: Sequence[str], waiting: int, begun: int, said: Mapping[str, str]
) -> Progress:
    # A worker of before leaves what was said of a shard that it books; then nobody owns it.
    in_hand = [InHand.from_text(said[shard]) for shard in owned if shard in said]
    finished = sum((each.counts for each in in_hand), start=Counts())
    return Progress(
        job=job,
        out=meta["out"],
        images=int(meta["images"]),
        shards=int(meta["shards"]),
        shards_done=int(meta.get("shards_done", 0)),
        claimed=len(owned),
        waiting=waiting,
        begun=begun,
        cancelled="halted" in meta,
        retry_round=int(meta.get("round", 0)),
        decided=Counts(**{status.value: int(meta.get(status.value, 0)) for status in Status}),
        left_out={reason: int(number) for reason, number in _by_code(meta, "left:")},
        failures={code: int(number) for code, number in _by_code(meta, "failed:")},
        warnings={code: int(number) for code, number in _by_code(meta, "warned:")},
        examples={code: FailureExample.from_json(text) for code, text in _by_code(meta, "example:")},
        in_hand=finished,
        loading="" if finished.total else next((each.loading for each in in_hand if each.loading), ""),
        trouble=meta.get("trouble"),
        files=meta.get("files"),
        rebuilt="rebuilt" in meta,
    )


def _by_code(meta: Mapping[str, str], start: str) -> list[tuple[str, Any]]:
    return sorted((name.removeprefix(start), value) for name, value in meta.items() if name.startswith(start))
