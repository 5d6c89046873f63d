"""When a worker loads a model, and when not: against a real ledger and bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.errors import ModelUnavailable
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobRecord, Outcome, ShardReport, Spec, Status
from maskmill.services import Services
from maskmill.storage import keys
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.shards.flow import process_shards
from maskmill_worker.shards.worker import ShardWorker


class NoModels(Models):
    """Remembers which models were asked for, and has none."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.asked: list[str] = []

    def get(self, spec: Spec) -> Segmenter:
        self.asked.append(spec.model)
        raise ModelUnavailable(f"'{spec.model}' cannot be loaded")


@pytest.fixture
def models() -> NoModels:
    return NoModels()


@pytest.fixture
def worker(services: Services, models: NoModels) -> ShardWorker:
    return ShardWorker(services, models)


@pytest.fixture
def job(services: Services, tmp_path: Path) -> JobRecord:
    """One shard of two images."""
    (tmp_path / "list.txt").write_text("/photos/0.jpg\n/photos/1.jpg\n")
    names = [str(tmp_path / "list.txt")]
    return submit(services, names, out=services.settings.out, spec=Spec(model="m"), execution=Execution())


def report(job: JobRecord) -> ShardReport:
    outcomes = [Outcome(uri=f"/photos/{n}.jpg", status=Status.FAILED, code="timeout") for n in range(2)]
    return ShardReport(job=job.job, shard=0, attempt=1, worker="v", finished=job.created, outcomes=tuple(outcomes))


def held(services: Services, job: JobRecord) -> None:
    services.ledger.claim_next("another", 60)


def given_back_for_later(services: Services, job: JobRecord) -> None:
    services.ledger.claim_next("another", 60)
    services.ledger.release(job.job, 0, "another", delay_seconds=60)


def cancelled(services: Services, job: JobRecord) -> None:
    services.ledger.cancel(job.job)


def booked(services: Services, job: JobRecord) -> None:
    services.ledger.book(job.job, 0, report(job).counts(), {})


def committed(services: Services, job: JobRecord) -> None:
    """Its owner died between its report and the ledger."""
    services.store(services.settings.out).put(keys.report(job.job, 0), report(job).to_json())


def forgotten(services: Services, job: JobRecord) -> None:
    services.ledger.forget(job.job)


def used_up(services: Services, job: JobRecord) -> None:
    """The last process died in the last of all attempts."""
    for _ in range(services.settings.max_attempts):
        claim = services.ledger.claim_next("dead", 60)
        services.ledger.release(job.job, claim.shard, "dead")


STALE = [held, given_back_for_later, cancelled, booked, committed, forgotten, used_up]


@pytest.mark.parametrize("before", STALE, ids=lambda before: before.__name__)
def test_a_message_for_which_there_is_no_work_loads_no_model(
    services: Services,
    worker: ShardWorker,
    models: NoModels,
    job: JobRecord,
    before: Callable[[Services, JobRecord], None],
) -> None:
    before(services, job)
    process_shards(worker)
    assert models.asked == []


def test_a_message_in_an_empty_queue_loads_no_model(worker: ShardWorker, models: NoModels) -> None:
    process_shards(worker)
    assert models.asked == []


def test_a_shard_that_can_be_worked_on_has_its_model_loaded_once_and_is_given_back_if_there_is_none(
    services: Services, worker: ShardWorker, models: NoModels, job: JobRecord
) -> None:
    process_shards(worker)
    assert models.asked == ["m"]
    progress = services.ledger.progress(job.job)
    assert (progress.claimed, progress.waiting, progress.shards_done) == (0, 1, 0)


def test_a_decided_shard_is_booked_on_the_way(services: Services, worker: ShardWorker, job: JobRecord) -> None:
    committed(services, job)
    process_shards(worker)
    assert services.ledger.progress(job.job).counts == report(job).counts()
    assert services.store(services.settings.out).exists(keys.manifest(job.job))


def test_a_worker_asks_for_a_refused_store_with_a_small_object_before_it_loads_a_model(
    services: Services, worker: ShardWorker, models: NoModels, job: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bucket cannot be written to: `put` is refused as by a missing right, reads go on."""
    from maskmill.errors import ObjectForbidden

    store = services.store(services.settings.out)
    worker.ended_slice(services.settings.out, ObjectForbidden("no right to put"))

    def refused(key: str, *_: object) -> bool:
        raise ObjectForbidden(f"{key}: no right to put")

    monkeypatch.setattr(store, "put_if_absent", refused)
    process_shards(worker)
    assert models.asked == []
    assert services.ledger.progress(job.job).trouble == f"{keys.probe(job.job)}: no right to put"

    monkeypatch.undo()
    services.ledger.redis.zadd(services.ledger.key(job.job, "waiting"), {"0": 0})
    services.ledger.redis.zadd(services.ledger.key("due"), {job.job: 0})
    process_shards(worker)
    assert models.asked == ["m"], "it is mended"
    assert not store.exists(keys.probe(job.job))
