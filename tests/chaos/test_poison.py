"""Images that end, hang or bloat the processes that decode or segment them, among many good ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client, Settings
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.acceptance.poison import POISON, write_model, write_poison
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, settings_of

IMAGES, EACH = (1980, 4) if LONG else (20, 1)
COLOURS = {colour: code for colour, code in POISON.items() if LONG or colour != "black"}
"""Each image that ends the model's process costs half a minute of starting it again."""

WAIT_SECONDS = 3600 if LONG else 600


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    return settings_of(servers, lease_seconds=3, shard_size=128 if LONG else 8)


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_poisonous_images_cost_only_themselves(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    good = write_good(folder, IMAGES)
    codes: dict[str, str] = {}
    for place, (colour, code) in enumerate(COLOURS.items()):
        for n in range(3 * place, IMAGES, IMAGES // EACH):
            codes[str(write_poison(folder, colour, f"scene-{n:04d}"))] = code
    model = write_model(tmp_path / "model")
    worker = start_worker(
        MASKMILL_TRUSTED_MODELS=str(model),
        HF_MODULES_CACHE=str(tmp_path / "modules"),
        MASKMILL_BATCH_TIMEOUT_SECONDS="10",
        MASKMILL_IMAGE_TIMEOUT_SECONDS="10",
        MASKMILL_LOADER_MEMORY_BYTES=str(2**31),
    )
    job = client.submit(str(folder), model=str(model))
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, [*map(str, good), *codes])
    record(account.row("poison: fault, endless or bomb in decode, fault or endless in the model", len(codes)))
    assert {outcome.uri: outcome.code for outcome in job.failures()} == codes
    assert (account.stored, account.failed) == (len(good), len(codes))
    assert account.lost == account.duplicated == 0
    assert worker.process.poll() is None
    assert worker.log.read_text(errors="replace").count("raised error: WorkerLostError(") <= 3 * 2 * EACH
