"""Whatever is interleaved with a retry, and wherever a process is killed, the records of a job agree in the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.client import Job
from maskmill.errors import MaskmillError, UsageError
from maskmill.jobs.account import commit_shard
from maskmill.jobs.reconcile import reconcile_job
from maskmill.jobs.records import current_round, read_manifest
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobState, Outcome, ShardReport, Spec, Status
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.store import Store
from maskmill_worker.shards.held_shard import HeldShard
from maskmill_worker.shards.slice import Slice

IMAGES, SHARD_SIZE = 5, 2
LEASE_SECONDS = 0.3
END_SECONDS = 300.0
STEPS = ("work", "work", "late", "close", "retry", "retry", "cancel", "resume", "forget", "lose")


class Killed(BaseException):
    """The process ends here: nothing that it would do after is done."""


@dataclass
class Mortal:
    """Lets so many writes to store and broker happen, and then ends who writes."""

    writes_left: int = 10**9

    def wrap(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*arguments: Any, **options: Any) -> Any:
            if self.writes_left <= 0:
                raise Killed
            self.writes_left -= 1
            return write(*arguments, **options)

        return mortal


@dataclass
class History:
    """One job, and those who do things to it."""

    services: Services
    job: Job
    mortal: Mortal
    late: list[tuple[Slice, HeldShard]] = field(default_factory=list)
    owners: int = 0

    def work(self, failing: int) -> None:
        """Claim a shard and decide every image; those whose bit is set in `failing` fail."""
        held = self._take()
        if held:
            self._decide(*held, failing)

    def late_owner(self, failing: int) -> None:
        """Claim a shard and sleep; or wake up the one that sleeps longest, whatever has happened since."""
        if self.late:
            self._decide(*self.late.pop(0), failing)
        elif held := self._take():
            held[0]._leases.stop()
            self.late.append(held)

    def _take(self) -> tuple[Slice, HeldShard] | None:
        self.owners += 1
        shards = Slice(self.services, self.job.id, self.job.out, f"owner-{self.owners}")
        try:
            claim = self.services.ledger.claim_next(shards.owner, LEASE_SECONDS)
            shard = shards.take(claim) if claim else None
        except BaseException:
            shards._leases.stop()
            raise
        if shard is None:
            shards._leases.stop()
        return (shards, shard) if shard else None

    def _decide(self, shards: Slice, shard: HeldShard, failing: int) -> None:
        try:
            for index, reference in enumerate(shard.references):
                fails = bool(failing >> index & 1)
                done = {"code": "timeout", "reason": "slow"} if fails else {"mask_key": reference.mask_key}
                status = Status.FAILED if fails else Status.STORED
                shards.decide(shard.number, index, Outcome(uri=reference.uri, status=status, **done))
        finally:
            shards._leases.stop()

    def step(self, name: str, number: int) -> None:
        """Do one thing; what a person is told of it does not matter here."""
        ledger, job = self.services.ledger, self.job
        actions: dict[str, Callable[[], Any]] = {
            "work": lambda: self.work(number),
            "late": lambda: self.late_owner(number),
            "close": lambda: reconcile_job(self.services, job.id),
            "retry": job.retry,
            "cancel": job.cancel,
            "resume": job.resume,
            "forget": lambda: ledger.forget(job.id),
            "lose": lambda: ledger.redis.delete(ledger.key(job.id, ("meta", "done", "leases", "waiting")[number % 4])),
        }
        with suppress(MaskmillError, Killed):
            actions[name]()


def submitted(services: Services, names: Path) -> Job:
    record = submit(services, [str(names)], out=services.settings.out, spec=Spec(model="m"), execution=Execution())
    return Job(record.job, services.settings.out, services)


def brought_to_its_end(history: History) -> None:
    """What remains to be done after any history: resume, and work until the job is closed."""
    deadline = time.monotonic() + END_SECONDS
    history.job.resume()
    while history.job.manifest() is None:
        history.work(0)
        reconcile_job(history.services, history.job.id)
        assert time.monotonic() < deadline, history.services.ledger.progress(history.job.id)
        time.sleep(0.01)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 9))), max_size=14
    )
)
def test_status_manifest_reports_and_results_agree_after_any_history(
    services: Services, tmp_path: Path, steps: list[tuple[str, int, int | None]]
) -> None:
    names = tmp_path / "list.txt"
    names.write_text("".join(f"/photos/{n}.jpg\n" for n in range(IMAGES)))
    mortal = Mortal()
    services.settings = services.settings.model_copy(update={"shard_size": SHARD_SIZE, "lease_seconds": LEASE_SECONDS})
    for each in services.ledger.jobs():
        services.ledger.forget(each)
    store = services.store(services.settings.out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.ledger, "run", mortal.wrap(services.ledger.run))
        patch.setattr(store, "_ask", mortal.wrap(store._ask))
        history = History(services, submitted(services, names), mortal)
        for name, number, writes in steps:
            mortal.writes_left = 10**9 if writes is None else writes
            history.step(name, number)
        mortal.writes_left = 10**9
        brought_to_its_end(history)
        for late in history.late:
            history._decide(*late, 3)
    check(history, store)


def check(history: History, store: Store) -> None:
    job, ledger = history.job, history.services.ledger
    manifest = job.manifest()
    assert manifest is not None
    outcomes = list(job.outcomes())
    assert [outcome.uri for outcome in outcomes] == [f"/photos/{n}.jpg" for n in range(IMAGES)]
    assert Counter(outcome.status.value for outcome in outcomes) == Counter(
        {status: number for status, number in manifest.counts.model_dump().items() if number}
    )
    assert manifest.counts.total == IMAGES
    marker = keys.cancellation(job.id, current_round(store, job.id))
    assert manifest.state is not JobState.CANCELLED or store.exists(marker)
    stored = sorted(outcome.uri for outcome in outcomes if outcome.has_mask)
    assert sorted(result.uri for result in job.results()) == stored
    lines = [line for item in store.list(f"jobs/{job.id}/metadata/") for line in store.get(item.key).splitlines()]
    assert sorted(Outcome.from_json(line).uri for line in lines) == stored, "each image with a mask once"
    assert (job.status().counts, job.status().state) == (manifest.counts, manifest.state)
    found = ledger.inspect(job.id)
    assert found is not None
    assert found.complete


def test_a_reader_who_races_with_a_retry_does_not_close_it(services: Services, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("/photos/0.jpg\n/photos/1.jpg\n")
    job = submitted(services, names)
    history = History(services, job, Mortal())
    history.work(1)
    reconcile_job(services, job.id)
    before = job.manifest()
    rebuild = services.ledger.rebuild

    def raced(*arguments: Any, **options: Any) -> None:
        job.wait(timeout=300)  # another terminal's `maskmill watch`, just now
        rebuild(*arguments, **options)
        services.ledger.close(job.id, 0, 60)  # the end of what another reader began before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.ledger, "rebuild", raced)
        assert job.retry() == 1
    assert job.manifest() is None
    history.work(0)
    manifest = job.wait(timeout=300)
    assert before is not None
    assert (before.counts.failed, manifest.counts.failed, manifest.counts.stored) == (1, 0, 2)
    assert read_manifest(job.store, job.id, 0) == before
    assert services.ledger.open_jobs() == []


def test_a_cancellation_that_comes_too_late_says_so_and_does_not_end_the_next_round(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's last shard is committed after the first look whether it has ended."""
    names = tmp_path / "list.txt"
    names.write_text("/photos/0.jpg\n/photos/1.jpg\n")
    job = submitted(services, names)
    history = History(services, job, Mortal())
    put = job.store.put_if_absent

    def late(key: str, *more: Any) -> bool:
        if key == keys.cancellation(job.id):
            history.work(1)
        return put(key, *more)

    monkeypatch.setattr(job.store, "put_if_absent", late)
    with pytest.raises(UsageError, match="has ended"):
        job.cancel()
    manifest = job.manifest()
    assert manifest is not None
    services.ledger.forget(job.id)
    job.resume()
    assert job.status().state is manifest.state is JobState.COMPLETED_WITH_FAILURES

    assert job.retry() == 1
    history.work(0)
    assert job.wait(timeout=300).state is JobState.COMPLETED


def test_nobody_begins_a_shard_of_a_cancelled_job_that_is_resumed(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "list.txt"
    names.write_text("/photos/0.jpg\n/photos/1.jpg\n")
    job = submitted(services, names)
    job.cancel()
    services.ledger.forget(job.id)
    rebuild, claims = services.ledger.rebuild, list[bool]()

    def raced(*arguments: Any, **options: Any) -> None:
        rebuild(*arguments, **options)
        claims.append(bool(services.ledger.claim_next("quick", LEASE_SECONDS)))

    monkeypatch.setattr(services.ledger, "rebuild", raced)
    job.resume()
    assert claims == [False]


def test_an_owner_from_before_a_retry_changes_no_record(services: Services, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("/photos/0.jpg\n/photos/1.jpg\n")
    job = submitted(services, names)
    history = History(services, job, Mortal())
    history.work(1)
    report = history.services.store(job.out).get(f"jobs/{job.id}/reports/000000.json")
    reconcile_job(services, job.id)
    job.retry()
    history.work(0)
    manifest = job.wait(timeout=300)
    objects = {item.key: item.etag for item in job.store.list()}
    commit_shard(services, job.out, ShardReport.from_json(report))
    assert {item.key: item.etag for item in job.store.list()} == objects
    assert job.manifest() == manifest
    assert job.status().counts == manifest.counts


def test_retrying_what_is_being_retried_is_refused(services: Services, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("/photos/0.jpg\n")
    job = submitted(services, names)
    History(services, job, Mortal()).work(1)
    reconcile_job(services, job.id)
    job.retry()
    with pytest.raises(UsageError, match="has not ended"):
        job.retry()
