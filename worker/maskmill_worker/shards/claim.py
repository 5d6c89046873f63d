"""A claimed shard: won, kept, and ended in exactly one of three ways (committed, given back, closed as failed)."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from maskmill.ledger.ledger import Booking

from maskmill.errors import (
    BrokerUnavailable,
    DeviceLost,
    ImageCrashed,
    LeaseLost,
    MaskmillError,
    ObjectForbidden,
    ShardError,
    StoreUnavailable,
    WorkerCrashed,
    one_line,
)
from maskmill.jobs.account import book_shard, commit_shard, read_latest_report, read_references, read_report, read_retry
from maskmill.jobs.cancel import given_up, stop_over_budget
from maskmill.ledger.answers import Claim as Answer
from maskmill.schema import DeviceSeconds, Outcome, Reference, ShardReport, Status, utc_now
from maskmill.services import Services
from maskmill.storage.store import Store
from maskmill_worker.model.sample import Sample
from maskmill_worker.shards.crashes import CRASHES_ALONE, Suspects
from maskmill_worker.shards.lease import Lease

log = structlog.get_logger(__name__)

FORGIVEN = (StoreUnavailable, ObjectForbidden, BrokerUnavailable)
"""Errors of the servers: such attempts are excused, and the shard is tried until the servers are back."""

MAX_DELAY_SECONDS = 60.0


@dataclass(frozen=True)
class Work:
    """A shard's references, and the outcomes of those (by their place) that need no work."""

    references: list[Reference]
    settled: dict[int, Outcome]


@dataclass(eq=False)
class Claim:
    """The right to work on one shard. `check()` before anything that others can see."""

    services: Services
    job: str
    out: str
    owner: str
    answer: Answer
    lease: Lease
    suspects: Suspects

    @property
    def store(self) -> Store:
        """The store below the job's output prefix."""
        return self.services.store(self.out)

    @property
    def shard(self) -> int:
        """The shard's number."""
        return self.answer.shard

    @property
    def round(self) -> int:
        """The job's round of retries, 0 before the first."""
        return self.answer.round

    def work(self) -> Work:
        """What there is to do: in a round of retries only some images, and never those that end processes."""
        references, settled = read_references(self.store, self.job, self.shard), {}
        if self.round and (before := read_latest_report(self.store, self.job, self.shard, self.round - 1)):
            retry = read_retry(self.store, self.job, self.round)
            settled = {index: each for index, each in enumerate(before.outcomes) if not retry.concerns(each)}
        crashed = ImageCrashed(f"ended {CRASHES_ALONE} worker processes while it was alone in the model")
        for index in self.suspects.convicted:
            settled[index] = _failed(references[index], crashed)
        return Work(references, settled)

    def finish_decided(self) -> bool:
        """If the shard is decided but not booked (a crash, a wiped broker), book it; True if it needs no more."""
        report = read_report(self.store, self.job, self.shard, self.round)
        if report is not None:
            book_shard(self.services, self.store, report, self.round)
        return report is not None

    def closed_after_crashes(self) -> bool:
        """Close the shard if every allowed attempt at it has ended without a word; True if so.

        Attempts that ended with images in the model say which image to blame, and do not count.
        """
        allowed = self.services.settings.max_attempts
        if self.attempts > allowed:
            self._close(WorkerCrashed(f"the worker process died in each of {allowed} attempts at this shard"))
        return self.attempts > allowed

    @property
    def attempts(self) -> int:
        """Attempts that count against the shard, this one included."""
        return self.answer.attempt - self.suspects.excused

    def commit(self, outcomes: Sequence[Outcome], device: DeviceSeconds | None = None) -> None:
        """Decide the shard with these outcomes, one a reference."""
        self.lease.check()
        report = ShardReport(
            job=self.job,
            shard=self.shard,
            round=self.round,
            attempt=self.answer.attempt,
            worker=self.owner,
            finished=utc_now(),
            outcomes=tuple(outcomes),
            device=device,
        )
        booking = commit_shard(self.services, self.out, report)
        log.info("shard_committed", **self.name, **report.counts().model_dump(exclude_defaults=True))
        if booking is Booking.OVER_BUDGET:
            stop_over_budget(self.services, self.services.ledger.progress(self.job))

    def given_up(self) -> dict[int, Outcome]:
        """What becomes of the images that have no outcome yet, now that the job is cancelled."""
        references = read_references(self.store, self.job, self.shard)
        return dict(enumerate(given_up(self.store, self.job, self.shard, self.round, references)))

    def end(self, error: BaseException) -> None:
        """Give the shard back for another attempt, or close it when there are none left."""
        if isinstance(error, LeaseLost):
            log.warning("lease_lost", **self.name)
        elif not isinstance(error, Exception):
            self._give_back(error, counts=False)
        elif self.attempts < self.services.settings.max_attempts and not _final(error):
            self._give_back(error, counts=True)  # an excused attempt counts for the length of the pause
        else:
            self._close(error)

    @property
    def name(self) -> dict[str, str | int]:
        """How log lines call the shard."""
        return {"job": self.job, "shard": self.shard, "attempt": self.answer.attempt}

    def _give_back(self, error: BaseException, *, counts: bool) -> None:
        interrupted = not isinstance(error, Exception)
        delay = 0.0 if interrupted else min(MAX_DELAY_SECONDS, 2.0**self.answer.attempt) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        log.warning("shard_given_back", **self.name, code=code_of(error), reason=one_line(error), delay_seconds=delay)
        with suppress(BrokerUnavailable):  # then the lease expires by itself
            self.services.ledger.release(self.job, self.shard, self.owner, delay_seconds=delay, counts=counts)

    def _close(self, error: Exception) -> None:
        log.error("shard_closed", **self.name, code=code_of(error), reason=one_line(error))
        work = self.work()
        self.commit([work.settled.get(index) or _failed(each, error) for index, each in enumerate(work.references)])


def _failed(reference: Reference, error: Exception) -> Outcome:
    return Outcome(uri=reference.uri, status=Status.FAILED, code=code_of(error), reason=one_line(error))


def _final(error: BaseException) -> bool:
    """Whether another attempt would end in the same way."""
    return isinstance(error, ShardError) and not error.retryable


def code_of(error: BaseException) -> str:
    """The error's stable code; the type's name for one that is not ours."""
    if isinstance(error, MaskmillError):
        return error.code
    return "worker_error" if isinstance(error, Exception) else "interrupted"


class Claims:
    """The shards of one job that this process holds now; leaving the block ends those that are not committed.

    An `Exception` inside ends each one's attempt and goes no further; an interruption (`SystemExit`,
    `KeyboardInterrupt`) gives them back and is raised on, as is `DeviceLost`, after which this process must end.
    """

    def __init__(self, services: Services, job: str, out: str) -> None:
        self.services = services
        self.job = job
        self.out = out
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.interrupted = False
        self._held: dict[int, Claim] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.interrupted = error is not None
        for claim in list(self._held.values()):
            self._note({claim: claim.suspects.at_rest(excused=isinstance(error, FORGIVEN))})
            _end(claim, error or InterruptedError("left unfinished"))
            self.drop(claim)
        return isinstance(error, Exception) and not isinstance(error, DeviceLost)

    def take(self, shard: int) -> Claim | None:
        """This shard, if it can be won: None when it is done, unknown or another's."""
        return self._hold(self.services.ledger.claim(self.job, shard, self.owner, self._lease_seconds))

    def take_next(self) -> Claim | None:
        """The job's next shard that nobody has, if there is one."""
        return self._hold(self.services.ledger.next(self.job, self.owner, self._lease_seconds))

    def check(self) -> None:
        """Raise `LeaseLost` if another worker has one of the shards now, `JobCancelled` if the job is cancelled."""
        for claim in list(self._held.values()):
            claim.lease.check_job()

    def suspected(self, sample: Sample) -> bool:
        """Whether the image may end this process and must be alone in the model."""
        claim = self._held.get(sample.task.shard)
        return claim is not None and sample.task.index in claim.suspects.alone

    @contextmanager
    def in_the_model(self, batch: Sequence[Sample]) -> Iterator[None]:
        """Tell the ledger which images are in the model, so that they are known should it end this process."""
        indices: dict[int, list[int]] = {}
        for sample in batch:
            indices.setdefault(sample.task.shard, []).append(sample.task.index)
        held = list(self._held.values())
        self._note({claim: claim.suspects.passed().holding(indices.get(claim.shard, ())) for claim in held})
        yield
        alone = [claim for claim in held if claim.shard in indices and claim.suspects.alone]
        self._note({claim: claim.suspects.passed() for claim in alone})

    def drop(self, claim: Claim) -> None:
        """The shard is committed, or no longer ours: stop renewing its lease."""
        claim.lease.stop()
        self._held.pop(claim.shard, None)

    @property
    def _lease_seconds(self) -> float:
        return self.services.settings.lease_seconds

    def _hold(self, answer: Answer) -> Claim | None:
        if not answer:
            log.info("shard_not_claimed", job=self.job, state=answer.state.value)
            return None
        lease = Lease(self.services.ledger, self.job, answer.shard, self.owner, self._lease_seconds)
        before = Suspects.from_note(answer.note)
        claim = Claim(self.services, self.job, self.out, self.owner, answer, lease, before)
        self._held[answer.shard] = claim
        if before.in_hand or before.bystander:
            log.warning("crash_explained", **claim.name, images=len(before.in_hand))
            self._note({claim: before.after_crash()})
        return claim

    def _note(self, changes: Mapping[Claim, Suspects]) -> None:
        changed = {claim: suspects for claim, suspects in changes.items() if claim.suspects != suspects}
        if not changed:
            return
        for claim, suspects in changed.items():
            claim.suspects = suspects
        with suppress(BrokerUnavailable):  # a crash just now would count as unexplained
            self.services.ledger.note(self.job, self.owner, {claim.shard: s.note() for claim, s in changed.items()})


def _end(claim: Claim, error: BaseException) -> None:
    try:
        claim.end(error)
    except MaskmillError as second:
        log.warning("shard_left_to_its_lease", **claim.name, code=second.code, reason=str(second))
