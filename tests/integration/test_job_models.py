"""A job's model by its files: decided once a job, the same for all its workers, and what masks are reused by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from maskmill import Job
from maskmill.jobs.records import decide_model, read_model
from maskmill.jobs.submit import submit
from maskmill.masks.segment_map import decode
from maskmill.models import hub
from maskmill.models.files import resolve
from maskmill.schema import Counts, Execution, JobState, ModelIdentity, Spec, Status
from maskmill.services import Services
from maskmill_worker.model.models import Models
from maskmill_worker.shards.flow import process_shards
from maskmill_worker.shards.worker import ShardWorker
from tests.acceptance.images import write_good

IMAGES = 4


@pytest.fixture
def services(services: Services) -> Services:
    changes = {"num_workers": 0, "upload_threads": 2, "shard_size": 2}
    services.settings = services.settings.model_copy(update=changes)
    return services


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the demo model."""
    return Path(shutil.copytree(resolve("demo"), tmp_path / "model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_good(tmp_path / "photos", IMAGES)
    return tmp_path / "photos"


def retrain(model: Path) -> None:
    """Other files under the same name: a label is another one now."""
    config = json.loads((model / "config.json").read_text())
    config["id2label"] = {key: f"new {label}" for key, label in config["id2label"].items()}
    (model / "config.json").write_text(json.dumps(config | {"label2id": {}}))


def submitted(services: Services, photos: Path, model: Path | str, **execution: object) -> Job:
    options = {"spec": Spec(model=str(model)), "execution": Execution(**execution)}
    record = submit(services, [str(photos)], out=services.settings.out, **options)
    return Job(record.job, services.settings.out, services)


def work(services: Services, models: Models) -> None:
    worker = ShardWorker(services, models)
    process_shards(worker)
    worker.drop_loader()


def labels_of(job: Job) -> set[str]:
    return {str(segment.label) for result in job.results() for segment in result.segments}


def test_a_folder_that_was_trained_anew_is_another_model_for_reuse_too(
    services: Services, photos: Path, model: Path
) -> None:
    models = Models("cpu")  # of a worker that goes on
    jobs = []
    for change in (None, None, retrain):
        if change:
            change(model)
        jobs.append(submitted(services, photos, model))
        work(services, models)
    counts = [manifest.counts for job in jobs if (manifest := job.manifest())]
    assert counts == [Counts(stored=IMAGES), Counts(reused=IMAGES), Counts(stored=IMAGES)]
    assert all(label.startswith("new ") for label in labels_of(jobs[-1]))


def test_the_files_stand_in_the_bucket_the_manifest_the_status_and_each_mask(
    services: Services, photos: Path, model: Path
) -> None:
    job = submitted(services, photos, model)
    assert job.status().files is None
    work(services, Models("cpu"))

    made = read_model(job.store, job.id)
    manifest = job.manifest()
    assert made is not None
    assert manifest is not None
    assert made.model.startswith("files:")
    assert (manifest.model, job.status().files) == (made, made.files)
    fingerprint = job.record().spec.fingerprint(made)
    assert manifest.fingerprint == fingerprint != job.record().spec.fingerprint()
    assert {decode(job.store.get(item.key))[1].fingerprint for item in job.store.list("masks/")} == {fingerprint}
    services.ledger.forget(job.id)
    assert job.status().files == made.files, "from the manifest"


def test_a_ledger_that_was_built_anew_knows_the_files(services: Services, photos: Path) -> None:
    job = submitted(services, photos, "demo")
    decide_model(job.store, job.id, ModelIdentity(model="commit:1"))
    services.ledger.forget(job.id)
    job.resume()
    assert job.status().files == "commit:1"


def test_a_job_goes_on_with_the_model_that_it_began_with_while_a_worker_has_it(
    services: Services, photos: Path, model: Path
) -> None:
    models = Models("cpu")
    models.get(Spec(model=str(model)))
    job = submitted(services, photos, model)
    decide_model(job.store, job.id, models.get(Spec(model=str(model))).identity)
    retrain(model)
    work(services, models)
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.counts == Counts(stored=IMAGES)
    assert not any(label.startswith("new ") for label in labels_of(job))


def test_a_worker_with_other_files_stores_nothing_for_a_job(services: Services, photos: Path, model: Path) -> None:
    """Another machine's folder of the same name, say: others may have the right one, so it is tried again."""
    job = submitted(services, photos, model)
    decide_model(job.store, job.id, ModelIdentity(model="files:of another worker"))
    work(services, Models("cpu"))
    assert job.status().counts == Counts()
    assert "model_changed: the files of" in (job.status().trouble or "")
    assert not list(job.store.list("masks/"))


def test_the_first_of_two_workers_decides_and_the_second_takes_its_commit(services: Services, photos: Path) -> None:
    job = submitted(services, photos, "demo")
    first, second = ModelIdentity(model="commit:1"), ModelIdentity(model="commit:2")
    assert decide_model(job.store, job.id, first) == first
    assert decide_model(job.store, job.id, second) == first


# What can never work, and what passes


def test_a_model_that_can_never_work_is_tried_once_a_job_and_fails_all_its_images_at_once(
    services: Services, photos: Path, model: Path
) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    job = submitted(services, photos, model)
    with capture_logs() as lines:
        work(services, Models("cpu"))

    manifest = job.manifest()
    assert manifest is not None, "one call took all shards"
    assert (manifest.state, manifest.failures) == (JobState.COMPLETED_WITH_FAILURES, {"model_unusable": IMAGES})
    assert "broken or cut off" in manifest.examples["model_unusable"].reason
    assert [line["event"] for line in lines].count("model_loading") == 1
    assert read_model(job.store, job.id) is None

    weights.write_bytes(whole)  # mended: a retry tries it again
    job.retry()
    work(services, Models("cpu"))
    assert {outcome.status for outcome in job.outcomes()} == {Status.STORED}


def test_a_hub_that_is_out_of_reach_never_counts_as_an_attempt(
    services: Services, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "is_offline", lambda: False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    job = submitted(services, photos, "owner/name")
    ledger, waiting = services.ledger, services.ledger.key(job.id, "waiting")
    for _ in range(2 * services.settings.max_attempts):
        work(services, Models("cpu"))
        ledger.redis.zadd(waiting, dict.fromkeys(ledger.redis.zrange(waiting, 0, -1), 0))  # the pause is over
    claim = ledger.claim_next("another", 30)
    assert claim.attempt > services.settings.max_attempts
    assert claim.counted == 1
    assert job.manifest() is None
    assert "hub_unavailable: the model hub cannot be reached" in (job.status().trouble or "")
    assert services.ledger.progress(job.id).decided == Counts()
