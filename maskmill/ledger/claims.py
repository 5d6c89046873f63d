"""Shards in flight: who may work on which, for how long, and what became of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from maskmill.ledger.answers import NO_TURN, Booking, ClaimReply, ClaimState, InHand, Renewal, Turn
from maskmill.ledger.table import Table, milliseconds
from maskmill.schema import ByCode, Counts, Status


class Claims(Table):
    """From the claim of a shard to its booking."""

    def claim_next(
        self, owner: str, lease_seconds: float, turn: Turn = NO_TURN, without: Iterable[str] = ()
    ) -> ClaimReply:
        """Claim the shard that is next: the highest priority's, and among equals of the job that had least worker time.

        A shard that was given back goes first, then one whose lease is over, then a new one. Jobs of `without` are
        left to others.

        Example: claim_next("w1", 30.0) gives ClaimReply(CLAIMED, "20261122-…", "s3://b/out", shard=0, attempt=1).
        """
        return _reply(self.run("claim_next", *claiming(owner, lease_seconds, turn, without)))

    def claim_abandoned(self, job: str, shard: int, owner: str, lease_seconds: float) -> ClaimReply:
        """Claim a shard of a cancelled job, to write its report; `HELD` while a live lease holds it."""
        return _reply(self.run("claim_abandoned", job, shard, owner, milliseconds(lease_seconds)))

    def renew(
        self,
        job: str,
        shards: Sequence[int],
        owner: str,
        lease_seconds: float,
        in_hand: Mapping[int, InHand] = MappingProxyType({}),
    ) -> dict[int, Renewal]:
        """Extend the leases of these shards where they are still `owner`'s, in one call.

        What is said of them `in_hand` holds until the shard is another's, given back or booked.

        Example: renew(job, [3, 4], "w1", 30.0) gives {3: RENEWED, 4: LOST}.
        """
        said = {shard: in_hand[shard].text() if shard in in_hand else "" for shard in shards}
        pairs = (part for pair in said.items() for part in pair)
        answers = self.run("renew", job, owner, milliseconds(lease_seconds), *pairs)
        return {shard: Renewal(answer) for shard, answer in zip(shards, answers, strict=True)}

    def release(
        self,
        job: str,
        shard: int,
        owner: str,
        *,
        delay_seconds: float = 0.0,
        counts: bool = True,
        seconds: float = 0.0,
    ) -> bool:
        """Give the shard back, to be claimed after the delay; False if it is not `owner`'s.

        `counts` False excuses the attempt. `seconds` is the worker time that was spent on it.
        """
        given = self.run("release", job, shard, owner, milliseconds(delay_seconds), int(counts), _spent(seconds))
        return bool(given)

    def excuse(self, job: str, shard: int) -> None:
        """Excuse one attempt that is over: its lease was lost while its owner lived, or its crash is explained."""
        self.run("excuse", job, shard)

    def note(self, job: str, owner: str, notes: Mapping[int, str]) -> None:
        """Leave a text with each of these shards, if it is `owner`'s, for whoever claims it after a crash; '': none."""
        self.run("note", job, owner, *(part for pair in notes.items() for part in pair))

    def book(
        self,
        job: str,
        shard: int,
        counts: Counts,
        failures: ByCode,
        warnings: ByCode | None = None,
        *,
        retry_round: int = 0,
        seconds: float = 0.0,
    ) -> Booking:
        """Mark the shard done in this round; its counts are added the first time only. Needs no lease.

        `failures` and `warnings` are images and an example by code. `seconds` is the worker time that was spent on it.
        """
        return Booking(self.run("book", *booking(job, shard, counts, failures, warnings or {}, retry_round, seconds)))


def claiming(owner: str, lease_seconds: float, turn: Turn, without: Iterable[str] = ()) -> tuple[str | int, ...]:
    """The arguments of the script `claim_next`; the token makes a call that is sent again the same one."""
    flags = (turn.stay_with_same_model, turn.stay_with_other_model, turn.only_this_job)
    once = secrets.token_hex(8)
    return owner, milliseconds(lease_seconds), turn.job, turn.model, *map(int, flags), once, " ".join(without)


def booking(
    job: str,
    shard: int,
    counts: Counts,
    failures: ByCode,
    warnings: ByCode,
    retry_round: int = 0,
    seconds: float = 0.0,
) -> tuple[str | int | float, ...]:
    """The arguments of the script `book`."""
    amounts = [part for pair in amounts_of(counts, failures, warnings) for part in pair]
    examples = [part for pair in examples_of(failures | warnings) for part in pair]
    return job, shard, retry_round, _spent(seconds), len(amounts) // 2, *amounts, *examples


def amounts_of(counts: Counts, failures: ByCode, warnings: ByCode) -> Iterator[tuple[str, int]]:
    """Counters of a job with what is to be added: `failed` 2, `failed:timeout` 2, `warned:first_frame` 1."""
    for status in Status:
        if number := getattr(counts, status.value):
            yield status.value, number
    for code, (number, _) in failures.items():
        yield f"failed:{code}", number
    for code, (number, _) in warnings.items():
        yield f"warned:{code}", number


def examples_of(found: ByCode) -> Iterator[tuple[str, str]]:
    """Fields of a job with an example of each code, as JSON."""
    for code, (_, example) in found.items():
        yield f"example:{code}", example.to_json().decode()


def _reply(answer: Sequence[Any]) -> ClaimReply:
    state, *won = answer
    return ClaimReply(ClaimState(state), *won)


def _spent(seconds: float) -> float:
    return max(0.0, seconds)
