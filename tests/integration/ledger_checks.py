"""What must hold of the ledger at any time."""

from __future__ import annotations

from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant

from maskmill.ledger.bitmap import shards_in
from maskmill.ledger.ledger import Ledger
from tests.integration.ledger_truth import PARTS, SHARDS, Job


class CheckedLedger(RuleBasedStateMachine):
    """Two jobs of a few shards, and the ledger that should hold the same."""

    ledger: Ledger
    jobs: list[Job]

    def dump(self) -> dict[str, Any]:
        """What a question leaves as it is; vtime changes when a job comes back because its time has come."""
        keys = [self.ledger.key(job.name, part) for job in self.jobs for part in (*PARTS[1:], "in_hand")]
        dump = {key: self.ledger.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}
        metas = [self.ledger.redis.hgetall(self.ledger.key(job.name, "meta")) for job in self.jobs]
        return dump | {"meta": [{**meta, "vtime": ""} for meta in metas]}

    @invariant()
    def the_counters_are_the_truth(self) -> None:
        for job, progress in zip(self.jobs, self.ledger.progress_of([job.name for job in self.jobs]), strict=True):
            assert progress is not None
            assert (progress.shards_done, progress.decided) == (len(job.booked), job.counts)
            assert sum(progress.failures.values()) == job.counts.failed
            assert set(progress.examples) == set(progress.failures)
            assert progress.in_hand == job.in_hand
            assert (progress.decided + progress.in_hand).total <= progress.images
            assert progress.claimed == sum(shard.owner is not None for shard in job.shards)
            assert progress.waiting == sum(shard.waiting for shard in job.shards)
            assert progress.begun == sum(shard.begun for shard in job.shards)
            assert (progress.cancelled, progress.retry_round) == (job.cancelled, job.retry_round)
            abandoned = job.cancelled and not job.retry_round and not job.rebuilt and not progress.begun
            assert progress.finished == (len(job.booked) == SHARDS or abandoned)

    @invariant()
    def nothing_is_missing(self) -> None:
        for job in self.jobs:
            state = self.ledger.inspect(job.name)
            assert state is not None
            assert (state.complete, state.retry_round) == (True, job.retry_round)
            assert list(shards_in(state.done)) == sorted(job.booked)
            assert self.ledger.begun(job.name) == [n for n, shard in enumerate(job.shards) if shard.begun]
            notes = self.ledger.redis.hgetall(self.ledger.key(job.name, "notes"))
            assert notes == {str(n): shard.note for n, shard in enumerate(job.shards) if shard.note}

    @invariant()
    def whoever_looks_for_work_finds_it(self) -> None:
        assert self.ledger.claimable(2) == min(2, sum(job.claimable for job in self.jobs))
        assert self.ledger.claimable(99) == sum(job.claimable for job in self.jobs)
        assert self.ledger.closing() == sorted(job.name for job in self.jobs if job.ended)
        assert self.ledger.open_jobs() == sorted(job.name for job in self.jobs)
