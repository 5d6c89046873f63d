"""What became of a job's images, beside their references: these alone have whole addresses, and numbers of inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from maskmill.jobs.records import current_round, given_up, read_latest_report, read_manifest, read_references
from maskmill.schema import JobState, Outcome, Reference, ShardReport
from maskmill.storage.store import Store

Paired: TypeAlias = tuple[Outcome, Reference | None]


class Decided:
    """The outcomes of a job's shards as far as they are decided when one asks; rounds and end are those of now."""

    def __init__(self, store: Store, job: str) -> None:
        self._store, self._job = store, job
        self._round = current_round(store, job)
        manifest = read_manifest(store, job, self._round)
        self._cancelled = manifest is not None and manifest.state is JobState.CANCELLED

    def report(self, shard: int) -> ShardReport | None:
        """What one shard's worker has written; None while it is not decided, and where nobody began it."""
        return read_latest_report(self._store, self._job, shard, self._round)

    def outcomes(self, shard: int) -> Sequence[Outcome]:
        """Those of one shard, in the order of its references; none while it is not decided."""
        report = self.report(shard)
        if report is None and self._cancelled:
            return given_up(self._store, self._job, shard, 0, read_references(self._store, self._job, shard))
        return report.outcomes if report else ()

    def paired(self, shard: int) -> Sequence[Paired]:
        """The same, each with its reference."""
        outcomes = self.outcomes(shard)
        references = read_references(self._store, self._job, shard) if outcomes else []
        return list(zip(outcomes, references, strict=False))


def by_mask(outcomes: Iterable[Outcome], references: Iterable[Reference]) -> Iterator[Paired]:
    """The outcomes of a shard's metadata, each of which has its reference's mask key."""
    found: dict[str, deque[Reference]] = {}
    for reference in references:
        found.setdefault(reference.mask_key, deque()).append(reference)
    for outcome in outcomes:
        same = found.get(outcome.mask_key or "")
        # An image that was submitted twice has two references of one key, and two outcomes in their order.
        yield outcome, (same.popleft() if len(same) > 1 else same[0]) if same else None


def revealed(outcome: Outcome, reference: Reference | None) -> Outcome:
    """The outcome with its whole address, whose own is shown without secrets."""
    return outcome.model_copy(update={"uri": reference.uri}) if reference else outcome
