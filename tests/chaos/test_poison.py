"""Images that end, hang or bloat the processes that decode or segment them, among many good ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client, Settings
from producer import embedded
from tests.acceptance.images import write_good
from tests.acceptance.poison import write_black, write_model, write_white
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, settings_of

IMAGES, EACH = (1980, 10) if LONG else (20, 1)
WAIT_SECONDS = 3600 if LONG else 240


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    return settings_of(servers, lease_seconds=3, hint_seconds=5, shard_size=128 if LONG else 8)


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_images_that_end_the_model_s_process_cost_only_themselves(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """White ones are a segmentation fault, black ones a forward pass without an end."""
    folder = tmp_path / "some"
    good = write_good(folder, IMAGES)
    poison = [write_white(folder / f"scene-{n:04d}-white.png") for n in range(5, IMAGES, IMAGES // EACH)]
    poison += [write_black(folder / f"scene-{n:04d}-black.png") for n in range(9, IMAGES, IMAGES // EACH)]
    model = write_model(tmp_path / "model")
    worker = start_worker(
        MASKMILL_TRUSTED_MODELS=str(model),
        HF_MODULES_CACHE=str(tmp_path / "modules"),
        MASKMILL_BATCH_TIMEOUT_SECONDS="3",
    )
    job = client.submit(str(folder), model=str(model))
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, [str(path) for path in (*good, *poison)])
    record(account.row("poison in the model: fault, endless", len(poison)))
    assert {outcome.uri: outcome.code for outcome in job.failures()} == {str(path): "crashed" for path in poison}
    assert (account.stored, account.failed) == (len(good), len(poison))
    assert account.lost == account.duplicated == 0
    assert worker.process.poll() is None
    assert worker.log.read_text().count("billiard.exceptions.WorkerLostError") <= 3 * len(poison)
