"""One shard in hand: its claim, its images, and what became of each so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock

from maskmill.errors import one_line
from maskmill.jobs.reuse import StoredMask, find_masks
from maskmill.ledger.answers import ClaimReply
from maskmill.schema import Counts, JobRecord, Outcome, Reference, ShardReport, Status, utc_now
from maskmill.storage.store import Store
from maskmill_worker.model.sample import Key, Task
from maskmill_worker.shards.attempts import code_of
from maskmill_worker.shards.crashes import CrashNote


@dataclass(eq=False)
class HeldShard:
    """A shard that this worker has claimed.

    `outcomes` are the images' by their place in the shard, `masks` those that are in the store already and may stay if
    their images are unchanged, `replaced` the ETags of what else is there under their keys. `crash_note` says what was,
    and is, in the model.
    """

    claim: ClaimReply
    crash_note: CrashNote
    references: list[Reference] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    masks: dict[int, StoredMask] = field(default_factory=dict)
    replaced: dict[int, str] = field(default_factory=dict)
    counted: int = 0
    """Attempts that count against the shard, this one included."""
    _lock: Lock = field(default_factory=Lock)
    _complete: bool = False

    @property
    def number(self) -> int:
        """The shard's number in its job."""
        return self.claim.shard

    @property
    def name(self) -> dict[str, str | int]:
        """How log lines call the shard."""
        return {"job": self.claim.job, "shard": self.number, "attempt": self.claim.attempt}

    def tasks(self, store: Store, record: JobRecord, fingerprint: str) -> Iterator[Task]:
        """Its images that have no outcome yet, to be loaded; masks that are in the store are found on the way."""
        left = [(index, each) for index, each in enumerate(self.references) if index not in self.outcomes]
        fresh = bool(record.execution.overwrite) and self.claim.attempt == 1
        there = find_masks(store, [each for _, each in left], record, fingerprint, none_stays=fresh)
        for (index, reference), found in zip(left, there, strict=True):
            if found.mask:
                self.masks[index] = found.mask
            if found.replaced:
                self.replaced[index] = found.replaced
            yield Task(self.number, index, reference, found.mask.image_version if found.mask else None)

    def decide(self, index: int, outcome: Outcome) -> bool:
        """Take an image's outcome unless it has one; True for the one that completes the shard."""
        with self._lock:
            if self._complete:
                return False
            self.outcomes.setdefault(index, outcome)
            self._complete = len(self.outcomes) >= len(self.references)
            return self._complete

    @property
    def complete(self) -> bool:
        """Whether every image has its outcome."""
        return self._complete

    @property
    def counts(self) -> Counts:
        """Its images so far, by status."""
        return Counts.of(list(self.outcomes.values()))  # upload threads add to them

    def fail_rest(self, error: Exception) -> None:
        """Every image without an outcome has failed with this error."""
        for index, reference in enumerate(self.references):
            self.outcomes.setdefault(index, failed(reference, error))

    def report(self, owner: str) -> ShardReport:
        """Its report, once every image has an outcome."""
        return ShardReport(
            job=self.claim.job,
            shard=self.number,
            round=self.claim.retry_round,
            attempt=self.claim.attempt,
            worker=owner,
            finished=utc_now(),
            outcomes=tuple(self.outcomes[index] for index in range(len(self.references))),
        )


def failed(reference: Reference, error: Exception, seconds: dict[str, float] | None = None) -> Outcome:
    """The outcome of an image that has no mask because of this error."""
    return Outcome(
        uri=reference.uri, status=Status.FAILED, code=code_of(error), reason=one_line(error), seconds=seconds
    )


def indices_by_shard(keys: Iterable[Key]) -> dict[int, list[int]]:
    """The places of images by their shards' numbers."""
    found: dict[int, list[int]] = {}
    for shard, index in keys:
        found.setdefault(shard, []).append(index)
    return found
