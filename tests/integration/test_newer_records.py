"""Jobs of a newer Maskmill: an old worker leaves them to others and says so, and they stop nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from maskmill import Client
from maskmill.errors import NewerRecord
from maskmill.jobs.lifecycle import prune
from maskmill.jobs.reconcile import reconcile
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobRecord, Spec
from maskmill.services import Services
from maskmill.storage import keys
from maskmill_worker.shards.flow import process_shards
from maskmill_worker.shards.worker import ShardWorker
from tests.integration.no_models import NoModels

CHANGES: list[dict[str, Any]] = [
    {"version": 2, "shape": "of a job to come"},
    {"colour": "a field that version 1 got later"},
    {"spec": {"model": "m", "tiles": 512}},
]


def submitted(services: Services, folder: Any, model: str) -> JobRecord:
    (folder / "list.txt").write_text("/photos/0.jpg\n/photos/1.jpg\n")
    names = [str(folder / "list.txt")]
    return submit(services, names, out=services.settings.out, spec=Spec(model=model), execution=Execution())


def made_newer(services: Services, job: str, changes: dict[str, Any]) -> None:
    store, key = services.store(services.settings.out), keys.job_record(job)
    store.put(key, json.dumps(json.loads(store.get(key)) | changes).encode())


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_worker_leaves_a_newer_job_to_others_and_works_on_the_next(
    services: Services, tmp_path: Any, changes: dict[str, Any]
) -> None:
    newer, known = submitted(services, tmp_path, "new"), submitted(services, tmp_path, "known")
    made_newer(services, newer.job, changes)
    models = NoModels()
    worker = ShardWorker(services, models)
    with capture_logs() as said:
        for _ in range(3):
            process_shards(worker)

    assert models.asked == ["known"], "and the newer one is not claimed again"
    told = [line for line in said if line.get("job") == newer.job and line["event"] == "job_left_to_others"]
    assert len(told) == 1
    assert "needs a newer Maskmill" in told[0]["reason"]
    assert "needs a newer Maskmill" in str(services.ledger.progress(newer.job).trouble)
    claim = services.ledger.claim_next("a newer worker", 30.0)
    assert (claim.job, claim.counted) == (newer.job, 1), "at once, and no attempt was counted"
    assert services.ledger.progress(known.job).waiting == 1


def test_a_newer_job_stops_neither_reconciling_nor_pruning_nor_listing(services: Services, tmp_path: Any) -> None:
    newer, known = submitted(services, tmp_path, "new"), submitted(services, tmp_path, "known")
    for job in (newer.job, known.job):
        services.ledger.cancel(job)
    made_newer(services, newer.job, {"version": 2})
    client = Client(services.settings)
    assert [record.job for record in client.unfinished(services.settings.out)] == [known.job]

    assert reconcile(services, "me")
    known_job = client.job(known.job)
    assert known_job.manifest() is not None
    assert client.job(newer.job).manifest() is None
    assert {status.job for status in client.statuses()} == {newer.job, known.job}

    pruned = prune(services, services.settings.out, timedelta(0))
    assert [each.job for each in pruned.jobs] == [known.job]
    with pytest.raises(NewerRecord, match="needs a newer Maskmill"):
        client.job(newer.job).record()


def test_a_newer_manifest_is_left_by_prune(services: Services, tmp_path: Any) -> None:
    job = submitted(services, tmp_path, "m")
    services.ledger.cancel(job.job)
    reconcile(services, "me")
    store, key = services.store(services.settings.out), keys.manifest(job.job)
    store.put(key, json.dumps(json.loads(store.get(key)) | {"version": 2}).encode())
    with capture_logs() as said:
        assert prune(services, services.settings.out, timedelta(0)).jobs == ()
    assert [line["event"] for line in said] == ["job_not_pruned"]
    assert store.exists(keys.job_record(job.job))
