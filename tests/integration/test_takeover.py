"""Masks that are there already are taken over by who submits, without a worker; anything else is left to one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill import Client, Job, Settings
from maskmill.jobs.records import read_model
from maskmill.jobs.takeover import take_over
from maskmill.models.files import resolve
from tests.acceptance.images import write_good

SHARD_SIZE = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": SHARD_SIZE})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder whose files can be changed."""
    return Path(shutil.copytree(resolve("demo"), tmp_path / "model"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_good(tmp_path / "pictures", 2 * SHARD_SIZE)
    return tmp_path / "pictures"


@pytest.fixture
def again(settings: Settings) -> Client:
    """A submitter with a queue that no worker hears, and the output prefix of before."""
    return Client(settings.model_copy(update={"queue": f"{settings.queue}-unheard"}))


@pytest.fixture
def before(client: Client, pictures: Path, model: Path) -> Job:
    """A job whose masks a worker has stored."""
    job = client.submit(str(pictures), model=str(model))
    job.wait()
    return job


def take(client: Client, job: Job) -> bool:
    return take_over(client.services, job.out, job.id)


@pytest.mark.attended
def test_a_job_whose_masks_all_hold_needs_no_worker(before: Job, again: Client, pictures: Path, model: Path) -> None:
    job = again.submit(str(pictures), model=str(model))

    assert take(again, job)

    manifest = job.wait(timeout=60)
    assert (manifest.counts.reused, manifest.counts.total) == (2 * SHARD_SIZE, 2 * SHARD_SIZE)
    assert read_model(job.store, job.id) == read_model(before.store, before.id)
    assert sum(1 for _ in job.results()) == 2 * SHARD_SIZE


@pytest.mark.attended
def test_from_the_first_image_that_has_changed_on_a_worker_is_needed(
    before: Job, again: Client, pictures: Path, model: Path
) -> None:
    changed = sorted(pictures.iterdir())[SHARD_SIZE]
    os.utime(changed, (0, 0))
    job = again.submit(str(pictures), model=str(model))

    assert not take(again, job)

    assert job.status().shards_done == 1


@pytest.mark.attended
def test_a_model_that_was_trained_anew_and_an_overwrite_need_a_worker(
    before: Job, again: Client, pictures: Path, model: Path
) -> None:
    overwritten = again.submit(str(pictures), model=str(model), overwrite=True)
    with (model / "config.json").open("a") as config:
        config.write("\n")
    trained = again.submit(str(pictures), model=str(model))

    assert not take(again, overwritten)
    assert not take(again, trained)

    assert overwritten.status().counts.total == trained.status().counts.total == 0
    assert read_model(trained.store, trained.id) is None  # the worker that loads it decides


def test_no_torch_is_needed_for_it() -> None:
    code = "import sys, maskmill.jobs.takeover; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
