"""A job of a model with a pipeline of its own, in a real worker that trusts it: its masks, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

from maskmill import Client
from tests.conftest import StartWorker
from tests.own_model import write_own_model

WAIT_SECONDS = 600


@pytest.fixture
def folder(tmp_path: Path, modules_of_models: Path) -> Path:
    return write_own_model(tmp_path / "cut-out")


def test_a_job_gives_what_the_models_own_pipeline_gives(
    folder: Path, client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 30, 40, 3), np.uint8)
    photos = {str(tmp_path / f"{n}.png"): Image.fromarray(each) for n, each in enumerate(pixels)}
    for path, photo in photos.items():
        photo.save(path)
    stock = transformers.pipeline("image-segmentation", model=str(folder), trust_remote_code=True, device="cpu")
    start_worker(MASKMILL_TRUSTED_MODELS=str(folder))

    job = client.submit(list(photos), model=str(folder), mask_threshold=0.5)
    job.wait(timeout=WAIT_SECONDS)

    results = {result.uri: result for result in job.results()}
    assert set(results) == set(photos), [failure.reason for failure in job.failures()]
    for path, photo in photos.items():
        assert (results[path].segment_map == (np.asarray(stock(photo)) >= 128)).all()
