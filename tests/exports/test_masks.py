"""Black-and-white masks are what the stock pipeline gives, in its order, as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill import Client, Job
from maskmill.masks.segment_map import narrowest, pipeline_output
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.files import files
from tests.exports.scenes import SCENES, Scene, made_job

CLASHING = {"twice.jpg": "twice_jpg", "twice.png": "twice_png"}


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("masks") / "masks"
    account = job.export("masks", out, processes=1)
    assert account.notes == {"stems_changed": 2}
    return out


@pytest.mark.parametrize("name", SCENES)
def test_files_and_rows_are_what_the_pipeline_returns(out: Path, name: str) -> None:
    scene = SCENES[name]
    rows = [json.loads(line) for line in (out / "masks.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [
        {"score": row["score"], "label": row["label"], "mask": Image.open(out / row["file_name"])}
        for row in rows
        if row["image"] == name
    ]
    wanted = pipeline_output(narrowest(scene.ids), scene.segments)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours["score"], ours["label"]) == (theirs["score"], theirs["label"])
        assert (ours["mask"].mode, ours["mask"].size) == (theirs["mask"].mode, theirs["mask"].size)
        assert ours["mask"].tobytes() == theirs["mask"].tobytes()


def test_the_same_bytes_again(job: Job, out: Path, tmp_path: Path) -> None:
    job.export("masks", tmp_path, processes=1)
    assert files(tmp_path) == files(out)


def test_odd_labels_name_no_other_folder_and_no_second_line(servers: embedded.Servers, tmp_path: Path) -> None:
    ids = np.ones((4, 6), np.uint8)
    ids[0, 0] = 2
    odd = {0: "../../etc/passwd\u2028<b>", 1: "…"}
    scenes = {"a.png": Scene(ids, {1: (0, 0.9), 2: (1, 0.8)}, odd)}
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), scenes)
    job.export("masks", tmp_path / "out", processes=1)
    assert [*files(tmp_path / "out")] == [
        "export.json", "masks.jsonl", "masks/a/001_etc-passwd-b.png", "masks/a/002_segment.png",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out" / "masks.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["label"] for row in rows] == [*odd.values()]


@pytest.mark.parametrize("form", ["masks", "coco-instances"])
def test_a_path_that_no_file_may_have_everywhere_is_another_name_and_counted(
    form: str, servers: embedded.Servers, tmp_path: Path
) -> None:
    scene = Scene(np.ones((4, 6), np.uint8), {1: (0, 0.9)})
    scenes = {"a\nb.png": scene, "a_b.png": scene}
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), scenes)
    account = job.export(form, tmp_path / "out", processes=1)
    assert (account.images, account.notes["names_changed"]) == (2, 1)


def test_a_job_of_empty_images_gives_an_empty_list(servers: embedded.Servers, tmp_path: Path) -> None:
    scenes = {"a.png": Scene(np.zeros((4, 6), np.uint8), {})}
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), scenes)
    assert job.export("masks", tmp_path / "out", processes=1).images == 1
    assert (tmp_path / "out" / "masks.jsonl").read_bytes() == b""
