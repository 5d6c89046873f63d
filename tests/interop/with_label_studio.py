"""Label Studio's SDK: its encoder gives our bytes, its decoder our masks, and its interface takes our tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface

from maskmill import Job
from maskmill.export.brush import brush_rle
from maskmill.masks.rle import run_lengths
from tests.exports.scenes import SCENES

REQUIRES = ("label-studio-sdk>=2.1,<3",)


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("label-studio") / "tasks"
    job.export("label-studio", out, processes=1)
    return out


@pytest.fixture(scope="module")
def tasks(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "tasks-00000.json").read_bytes())
    return found


def test_every_brush_is_the_sdk_s_own(tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        scene = SCENES[task["data"]["name"]]
        for region in task["predictions"][0]["result"]:
            mask = scene.ids == int(region["id"].removeprefix("s"))
            assert region["value"]["rle"] == mask2rle((mask * 255).astype(np.uint8))


@pytest.mark.parametrize("seed", range(100))
def test_random_masks_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    few = random.random(random.integers(1, 40, 2)) < random.random()
    few[0, 0] = True
    mask = np.kron(few, np.ones(random.integers(1, 400, 2), bool)) if seed % 10 == 0 else few
    assert brush_rle(run_lengths(mask.astype(np.uint8).T)[1].tolist()) == mask2rle((mask * 255).astype(np.uint8))


def test_the_sdk_decodes_the_masks(tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        scene = SCENES[task["data"]["name"]]
        for region in task["predictions"][0]["result"][:10]:
            alpha = decode_rle(region["value"]["rle"]).reshape(*scene.ids.shape, 4)[..., 3]
            assert np.array_equal(alpha == 255, scene.ids == int(region["id"].removeprefix("s")))


def test_the_interface_takes_the_tasks_and_their_predictions(out: Path, tasks: list[dict[str, Any]]) -> None:
    interface = LabelInterface((out / "label_config.xml").read_text(encoding="utf-8"))
    interface.validate()
    for task in tasks:
        assert interface.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            assert interface.validate_prediction(prediction)
    [prediction] = tasks[0]["predictions"]
    wrong = json.loads(json.dumps(prediction))
    wrong["result"][0]["value"]["brushlabels"] = ["no such label"]
    assert not interface.validate_prediction(wrong)
