"""Kill -9 at the worst moments: every image is stored, and none twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from maskmill import Client, Job, Settings
from tests.acceptance.images import write_good
from tests.acceptance.test_job import assert_every_image_has_one_outcome
from tests.conftest import StartWorker

WAIT_SECONDS = 600
IMAGES = 60


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Ten shards, so that a kill falls between shards that are done and shards that are not."""
    return settings.model_copy(update={"shard_size": 6})


def wait_until_some_are_stored(job: Job) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not 0 < job.status().counts.stored < IMAGES:
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.02)


def assert_all_stored_once(job: Job, images: list[Path]) -> None:
    outcomes = assert_every_image_has_one_outcome(job, [str(image) for image in images])
    assert Counter(outcome.status.value for outcome in outcomes) == {"stored": IMAGES}
    keys = [outcome.mask_key for outcome in outcomes]
    assert len(set(keys)) == IMAGES
    assert {item.key for item in job.store.list("masks/")} == set(keys)


def test_killing_the_worker_and_starting_another_loses_nothing(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    worker = start_worker()
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_until_some_are_stored(job)
    family = psutil.Process(worker.process.pid).children(recursive=True)

    os.kill(worker.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=120)
    start_worker()
    job.wait(timeout=WAIT_SECONDS)

    assert not alive, "no process outlives its worker"
    assert_all_stored_once(job, images)


def test_sigterm_gives_the_shard_back_and_another_worker_finishes(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    worker = start_worker(MASKMILL_DRAIN_SECONDS="0.01")
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_until_some_are_stored(job)

    worker.process.terminate()
    worker.process.wait(600)
    left = job.status()
    start_worker()
    job.wait(timeout=WAIT_SECONDS)

    assert "shard_given_back" in worker.log.read_text()
    assert left.shards_claimed == 0, "the lease was given back, not left to expire"
    assert_all_stored_once(job, images)


def test_a_draining_worker_finishes_what_it_has_in_hand_and_leaves(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    write_good(tmp_path / "some", 4 * IMAGES)
    worker = start_worker(MASKMILL_DRAIN_SECONDS="600")
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_until_some_are_stored(job)

    worker.process.terminate()
    worker.process.wait(600)

    left = job.status()
    assert left.shards_claimed == 0
    assert 0 < left.shards_done < left.shards
    assert "shard_given_back" not in worker.log.read_text()
