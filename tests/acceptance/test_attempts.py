"""What counts as an attempt, and what ends a process, in real workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from maskmill import Client
from maskmill.schema import Counts
from maskmill.settings import Settings
from maskmill_worker.shards.crashes import CrashNote
from maskmill_worker.tasks import EXIT_DEVICE_LOST
from tests.acceptance.images import write_good
from tests.acceptance.poison import write_model, write_poison
from tests.conftest import StartWorker, wait_for

WAIT_SECONDS = 600

LOSES_ITS_DEVICE = """

forward = PoisonedModel.forward


def forward_on_a_device_that_is_lost_once(self, pixel_values, **options):
    import torch

    of_yellow = (pixel_values[:, 2].amax((1, 2)) < 0.01) & (pixel_values[:, 0].amin((1, 2)) > 0.99)
    if of_yellow.any() and not os.path.exists(LOST):
        open(LOST, "w").close()
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    return forward(self, pixel_values, **options)


PoisonedModel.forward = forward_on_a_device_that_is_lost_once
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": 8})


@pytest.fixture
def trusted(tmp_path: Path) -> dict[str, str]:
    """Variables of a worker that runs the code of the model in `tmp_path`."""
    return {"MASKMILL_TRUSTED_MODELS": str(tmp_path / "model"), "HF_MODULES_CACHE": str(tmp_path / "modules")}


def test_a_lost_device_ends_the_process_and_the_next_one_stores_every_image(
    client: Client, start_worker: StartWorker, tmp_path: Path, trusted: dict[str, str]
) -> None:
    model = write_model(tmp_path / "model")
    code = (model / "poisoned.py").read_text() + f"\nLOST = {str(tmp_path / 'lost')!r}" + LOSES_ITS_DEVICE
    (model / "poisoned.py").write_text(code)
    write_good(tmp_path / "some", 4)
    write_poison(tmp_path / "some", "yellow", "scene-0002")
    worker = start_worker(**trusted)
    before = worker.pool_child

    job = client.submit(str(tmp_path / "some"), model=str(model))
    manifest = job.wait(WAIT_SECONDS)

    assert (tmp_path / "lost").exists()
    assert manifest.counts == Counts(stored=5), "no image is to blame"
    assert not before.is_running()
    assert worker.pool_child.pid != before.pid
    assert worker.process.poll() is None
    assert f"exitcode {EXIT_DEVICE_LOST}" in worker.log.read_text()


def test_an_attempt_that_a_signal_ended_in_the_middle_of_a_batch_does_not_count_and_blames_no_image(
    client: Client, start_worker: StartWorker, tmp_path: Path, trusted: dict[str, str]
) -> None:
    """The model never comes back from the black image: there is no better moment for a signal."""
    model = write_model(tmp_path / "model")
    (tmp_path / "some").mkdir()
    write_poison(tmp_path / "some", "black", "scene")
    worker = start_worker(**trusted, MASKMILL_DRAIN_SECONDS="0.01")
    job, ledger = client.submit(str(tmp_path / "some"), model=str(model)), client.services.ledger
    in_model = ledger.key(job.id, "notes")
    wait_for(lambda: bool(ledger.redis.hlen(in_model)), worker.log.read_text, WAIT_SECONDS)
    family = psutil.Process(worker.process.pid).children(recursive=True)

    worker.process.terminate()
    worker.process.wait(600)

    assert not psutil.wait_procs(family, timeout=120)[1]
    assert "shard_given_back" in worker.log.read_text()
    claim = ledger.claim_next("next", 30)
    assert (claim.attempt, claim.counted) == (2, 1)
    assert CrashNote.from_text(claim.note) == CrashNote()
