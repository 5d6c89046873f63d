"""A claimed shard: won, kept, and ended in exactly one of three ways (committed, given back, closed as failed)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from maskmill import keys
from maskmill.account import book_shard, commit_shard, read_report
from maskmill.errors import (
    BrokerUnavailable,
    DeviceLost,
    LeaseLost,
    MaskmillError,
    ObjectForbidden,
    StoreUnavailable,
    WorkerCrashed,
    one_line,
)
from maskmill.ledger import ClaimState
from maskmill.schema import Outcome, Reference, ShardMessage, ShardReport, Status, utc_now
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

    def refuse_after_crashes(self) -> None:
        """Raise `WorkerCrashed` if every allowed attempt has ended without a word."""
        allowed = self.services.settings.max_attempts
        if self.attempt > allowed:
            raise WorkerCrashed(f"the worker process died in each of {allowed} attempts at this shard")

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Decide the shard with these outcomes, one a reference."""
        self.check()
        report = ShardReport(
            job=self.message.job,
            shard=self.message.shard,
            attempt=self.attempt,
            worker=self.owner,
            finished=utc_now(),
            outcomes=tuple(outcomes),
        )
        commit_shard(self.services, self.message.out, report)
        log.info("shard_committed", **self.name, **report.counts().model_dump(exclude_defaults=True))

    def end(self, error: BaseException) -> None:
        """Give the shard back for another attempt, or close it when there are none left."""
        if isinstance(error, LeaseLost):
            log.warning("lease_lost", **self.name)
        elif isinstance(error, FORGIVEN) or not isinstance(error, Exception):
            self._give_back(error, counts=False)
        elif self.attempt < self.services.settings.max_attempts:
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


def code_of(error: BaseException) -> str:
    """The error's stable code; the type's name for one that is not ours."""
    if isinstance(error, MaskmillError):
        return error.code
    return "worker_error" if isinstance(error, Exception) else "interrupted"


@contextmanager
def claimed(services: Services, message: ShardMessage) -> Iterator[Claim | None]:
    """Try to win the shard and keep it renewed; None when it is done, unknown or another's.

    An `Exception` inside ends the shard's attempt and goes no further; an interruption (`SystemExit`,
    `KeyboardInterrupt`) gives the shard back and is raised on, as is `DeviceLost`, after which this process must end.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    seconds = services.settings.lease_seconds
    answer = services.ledger.claim(message.job, message.shard, owner, seconds)
    if answer.state is not ClaimState.CLAIMED:
        log.info("shard_not_claimed", job=message.job, shard=message.shard, state=answer.state.value)
        yield None
        return
    with Lease(services.ledger, message.job, message.shard, owner, seconds) as lease:
        claim = Claim(services, message, owner, answer.attempt, lease)
        try:
            yield claim
        except BaseException as error:
            _end(claim, error)
            if isinstance(error, DeviceLost) or not isinstance(error, Exception):
                raise


def _end(claim: Claim, error: BaseException) -> None:
    try:
        claim.end(error)
    except MaskmillError as second:
        log.warning("shard_left_to_its_lease", **claim.name, code=second.code, reason=str(second))
