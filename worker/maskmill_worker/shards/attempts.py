"""How an attempt at a shard ends: one verdict for every error. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from maskmill.errors import (
    BrokerRefused,
    BrokerUnavailable,
    HubUnavailable,
    JobCancelled,
    LeaseLost,
    MaskmillError,
    NewerRecord,
    ObjectForbidden,
    ObjectNotFound,
    ShardError,
    StoreRefused,
    StoreUnavailable,
    WorkerError,
)

MAX_PAUSE_SECONDS = 60.0

SERVERS = (
    StoreUnavailable,
    StoreRefused,
    ObjectForbidden,
    ObjectNotFound,
    BrokerUnavailable,
    BrokerRefused,
    HubUnavailable,
)
"""Errors of broker, store and model hub: the shard is tried until they are mended."""

REFUSALS = (StoreRefused, ObjectForbidden, ObjectNotFound, BrokerRefused)
"""Those that no waiting mends: somebody must change a right, a setting or a bucket."""


class Ending(Enum):
    """What becomes of the shard."""

    LEAVE = "leave"
    GIVE_BACK = "give back"
    FAIL_REST = "fail the rest"


@dataclass(frozen=True)
class Verdict:
    """What to do with a shard whose attempt ended.

    `pause_seconds` is how long nobody takes it; `counts` whether the attempt is one of the allowed ones.
    """

    ending: Ending
    pause_seconds: float = 0.0
    counts: bool = False


def verdict(
    error: BaseException, attempt: int, counted: int, max_attempts: int, *, images_known: bool = True
) -> Verdict:
    """Judge an attempt by the error that ended it.

    `attempt` counts all claims of the shard, this one included, `counted` those of them that count. Where its images
    could not be read (`images_known`), there is nothing that could be failed: it is tried until they can.

    >>> verdict(LoaderDied("…"), attempt=3, counted=2, max_attempts=6)
    Verdict(ending=<Ending.GIVE_BACK: 'give back'>, pause_seconds=8.0, counts=True)
    """
    if isinstance(error, LeaseLost):
        return Verdict(Ending.LEAVE)
    if isinstance(error, NewerRecord):  # this worker leaves the job to others, who may take the shard at once
        return Verdict(Ending.GIVE_BACK)
    if isinstance(error, JobCancelled) or not isinstance(error, Exception):  # a signal, a drain
        return Verdict(Ending.GIVE_BACK)
    if isinstance(error, REFUSALS):
        return Verdict(Ending.GIVE_BACK, MAX_PAUSE_SECONDS)
    if isinstance(error, SERVERS):
        return Verdict(Ending.GIVE_BACK, pause_seconds(attempt))
    final = isinstance(error, ShardError) and not error.retryable
    if images_known and (final or counted >= max_attempts):
        return Verdict(Ending.FAIL_REST, counts=True)
    return Verdict(Ending.GIVE_BACK, pause_seconds(attempt), counts=True)


def pause_seconds(attempt: int) -> float:
    """2, 4, 8 … up to 60 s, whatever the attempt's number."""
    return min(MAX_PAUSE_SECONDS, 2.0 ** min(attempt, 10))


def code_of(error: BaseException) -> str:
    """The error's stable code; a general one for an error that is not ours."""
    if isinstance(error, MaskmillError):
        return error.code
    return WorkerError.code if isinstance(error, Exception) else "interrupted"
