"""What runs of `maskmill.run` leave in the embedded store: masks for a day, no images, and nothing for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from maskmill import Client, Job, Result, Settings
from maskmill.errors import JobFailed
from maskmill.job_bar import NoBar
from maskmill.schema import JobState, Status, utc_now
from maskmill.storage import keys
from maskmill_producer.local import python_run
from tests.integration.finished_jobs import finish

IMAGE = np.zeros((4, 6), np.uint8)


@pytest.fixture
def folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of this test's own for the prefixes of runs."""
    monkeypatch.setattr(python_run, "FOLDER", settings.prefix)
    return f"s3://{settings.bucket}/{settings.prefix}"


def job_of(client: Client, out: str) -> Job:
    return client.submit([IMAGE, "https://host/a.jpg"], out=out, model="demo")


def objects(job: Job) -> list[str]:
    return [item.key for item in job.store.list()]


def test_a_run_that_ends_leaves_masks_and_no_image(client: Client, folder: str) -> None:
    job = job_of(client, f"{folder}/spec")
    finish(client, job)
    python_run._clean_up(client, job)
    assert not list(job.store.list(keys.images(job.id)))
    assert len([key for key in objects(job) if key.startswith("masks/")]) == 2
    assert job.manifest()


def test_a_run_that_is_left_is_cancelled(client: Client, folder: str) -> None:
    job = job_of(client, f"{folder}/spec")
    python_run._clean_up(client, job)
    manifest = job.manifest()
    assert manifest
    assert manifest.state is JobState.CANCELLED
    assert not list(job.store.list(keys.images(job.id)))


def test_what_other_runs_left_goes_after_its_time(client: Client, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, killed, fresh, now = (job_of(client, f"{folder}/{name}") for name in ("a", "b", "c", "d"))
    finish(client, ended)
    client.services.ledger.forget(killed.id)  # another queue's
    python_run._clean_up(client, now)
    assert ended.manifest()
    assert killed.manifest() is None
    assert objects(killed)

    monkeypatch.setattr(python_run, "KEPT", timedelta(0))
    old = killed.record().model_copy(update={"created": utc_now() - timedelta(days=8)})
    killed.store.put(keys.job_record(killed.id), old.to_json())
    python_run._clean_up(client, now)
    assert objects(ended) == []
    assert objects(killed) == []
    assert fresh.manifest() is None


class Worker:
    """One that lives and has nothing to do."""

    def check(self) -> None:
        pass


def results(job: Job) -> list[Result]:
    worker: Any = Worker()
    return [result for shard in python_run._shards(job, worker, NoBar()) for result in shard]


def test_images_of_a_job_that_was_stopped_are_results_too(client: Client, folder: str) -> None:
    job = job_of(client, f"{folder}/spec")
    job.cancel()
    found = results(job)
    assert [(each.input, each.failed, each.outcome.status) for each in found] == [
        (0, True, Status.CANCELLED),
        (1, True, Status.CANCELLED),
    ]
    assert repr(found[1]) == "Result('https://host/a.jpg', cancelled)"


def test_a_job_that_ended_without_a_report_is_no_endless_wait(client: Client, folder: str) -> None:
    job = job_of(client, f"{folder}/spec")
    finish(client, job)
    assert len(results(job)) == 2
    job.store.delete(keys.report(job.id, 0))
    with pytest.raises(JobFailed, match="shard 0 has no report"):
        results(job)
