"""A claimed shard: won, kept, and ended in exactly one of three ways (committed, given back, closed as failed)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from maskmill import keys
from maskmill.account import book_shard, commit_shard, read_report
from maskmill.errors import (
    BrokerUnavailable,
    DeviceLost,
    LeaseLost,
    MaskmillError,
    ObjectForbidden,
    ShardError,
    StoreUnavailable,
    WorkerCrashed,
    one_line,
)
from maskmill.ledger import ClaimState
from maskmill.schema import DeviceSeconds, Outcome, Reference, ShardMessage, ShardReport, Status, utc_now
from maskmill.services import Services
from maskmill.store import Store
from worker.lease import Lease

log = structlog.get_logger(__name__)

FORGIVEN = (StoreUnavailable, ObjectForbidden, BrokerUnavailable)
"""Errors of the servers: they do not count against the shard, which is tried until the servers are back."""

MAX_DELAY_SECONDS = 60.0


@dataclass(frozen=True)
class Claim:
    """The right to work on one shard. `check()` before anything that others can see."""

    services: Services
    message: ShardMessage
    owner: str
    attempt: int
    lease: Lease

    @property
    def store(self) -> Store:
        """The store below the job's output prefix."""
        return self.services.store(self.message.out)

    def check(self) -> None:
        """Raise `LeaseLost` if another worker has the shard now."""
        self.lease.check()

    def references(self) -> list[Reference]:
        """The shard's references, in order."""
        text = self.store.get(keys.shard(self.message.job, self.message.shard))
        return [Reference.from_json(line) for line in text.splitlines()]

    def finish_decided(self) -> bool:
        """If the shard is decided but not booked (a crash, a wiped broker), book it; True if it needs no more."""
        report = read_report(self.store, self.message.job, self.message.shard)
        if report is not None:
            book_shard(self.services, self.store, report)
        return report is not None

    def closed_after_crashes(self) -> bool:
        """Close the shard if every allowed attempt at it has ended without a word; True if so."""
        allowed = self.services.settings.max_attempts
        if self.attempt > allowed:
            self._close(WorkerCrashed(f"the worker process died in each of {allowed} attempts at this shard"))
        return self.attempt > allowed

    def commit(self, outcomes: Sequence[Outcome], device: DeviceSeconds | None = None) -> None:
        """Decide the shard with these outcomes, one a reference."""
        self.check()
        report = ShardReport(
            job=self.message.job,
            shard=self.message.shard,
            attempt=self.attempt,
            worker=self.owner,
            finished=utc_now(),
            outcomes=tuple(outcomes),
            device=device,
        )
        commit_shard(self.services, self.message.out, report)
        log.info("shard_committed", **self.name, **report.counts().model_dump(exclude_defaults=True))

    def end(self, error: BaseException) -> None:
        """Give the shard back for another attempt, or close it when there are none left."""
        if isinstance(error, LeaseLost):
            log.warning("lease_lost", **self.name)
        elif isinstance(error, FORGIVEN) or not isinstance(error, Exception):
            self._give_back(error, counts=False)
        elif self.attempt < self.services.settings.max_attempts and not _final(error):
            self._give_back(error, counts=True)
        else:
            self._close(error)

    @property
    def name(self) -> dict[str, str | int]:
        """How log lines call the shard."""
        return {"job": self.message.job, "shard": self.message.shard, "attempt": self.attempt}

    def _give_back(self, error: BaseException, *, counts: bool) -> None:
        interrupted = not isinstance(error, Exception)
        delay = 0.0 if interrupted else min(MAX_DELAY_SECONDS, 2.0**self.attempt)
        log.warning("shard_given_back", **self.name, code=code_of(error), reason=one_line(error), delay_seconds=delay)
        with suppress(BrokerUnavailable):  # then the lease expires by itself
            self.services.ledger.release(
                self.message.job, self.message.shard, self.owner, delay_seconds=delay, counts=counts
            )

    def _close(self, error: Exception) -> None:
        log.error("shard_closed", **self.name, code=code_of(error), reason=one_line(error))
        failed = [
            Outcome(uri=reference.uri, status=Status.FAILED, code=code_of(error), reason=one_line(error))
            for reference in self.references()
        ]
        self.commit(failed)


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

    def __init__(self, services: Services) -> None:
        self.services = services
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._held: dict[int, Claim] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for claim in list(self._held.values()):
            _end(claim, error or InterruptedError("left unfinished"))
            self.drop(claim)
        return isinstance(error, Exception) and not isinstance(error, DeviceLost)

    def take(self, message: ShardMessage) -> Claim | None:
        """The message's shard, if it can be won: None when it is done, unknown or another's."""
        answer = self.services.ledger.claim(message.job, message.shard, self.owner, self._lease_seconds)
        if answer.state is not ClaimState.CLAIMED:
            log.info("shard_not_claimed", job=message.job, shard=message.shard, state=answer.state.value)
            return None
        return self._hold(message, answer.attempt)

    def take_next(self, message: ShardMessage) -> Claim | None:
        """The next shard of the message's job, unless other jobs wait for their turn (their messages come first)."""
        ledger = self.services.ledger
        won = ledger.next(message.job, self.owner, self._lease_seconds) if ledger.alone(message.job) else None
        return self._hold(message.model_copy(update={"shard": won[0]}), won[1]) if won else None

    def check(self) -> None:
        """Raise `LeaseLost` if another worker has one of the shards now."""
        for claim in list(self._held.values()):
            claim.check()

    def drop(self, claim: Claim) -> None:
        """The shard is committed, or no longer ours: stop renewing its lease."""
        claim.lease.stop()
        self._held.pop(claim.message.shard, None)

    @property
    def _lease_seconds(self) -> float:
        return self.services.settings.lease_seconds

    def _hold(self, message: ShardMessage, attempt: int) -> Claim:
        lease = Lease(self.services.ledger, message.job, message.shard, self.owner, self._lease_seconds)
        self._held[message.shard] = claim = Claim(self.services, message, self.owner, attempt, lease)
        return claim


def _end(claim: Claim, error: BaseException) -> None:
    try:
        claim.end(error)
    except MaskmillError as second:
        log.warning("shard_left_to_its_lease", **claim.name, code=second.code, reason=str(second))
