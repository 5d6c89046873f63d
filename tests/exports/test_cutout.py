"""Cut-outs are the segments' own pixels, upright, and nothing else of the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskmill import Job
from maskmill.dataset.selection import Selection
from tests.exports.files import files
from tests.exports.scenes import SCENES, TURNED


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cutout") / "cutouts"
    account = job.export("cutout", out, processes=1)
    assert account.notes == {"stems_changed": 2, "turned_upright": 1}
    return out


@pytest.mark.parametrize("name", SCENES)
def test_inside_are_the_image_s_pixels_and_outside_is_nothing(out: Path, images: Path, name: str) -> None:
    scene = SCENES[name]
    with Image.open(images / name) as picture:
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    rows = [json.loads(line) for line in (out / "cutouts.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [row for row in rows if row["image"] == name]
    assert [(row["label"], row["score"], tuple(row["box"])) for row in found] == [
        (each.label, each.score, each.box) for each in scene.segments
    ]
    for row, segment in zip(found, scene.segments, strict=True):
        left, top, width, height = segment.box
        cut = np.asarray(Image.open(out / row["file_name"]))
        assert cut.shape == (height, width, 4)
        inside = scene.ids[top : top + height, left : left + width] == segment.id
        assert np.array_equal(cut[..., 3], inside * 255)
        assert np.array_equal(cut[inside][:, :3], pixels[scene.ids == segment.id])
        assert not cut[~inside].any()


def test_the_same_bytes_again_and_no_image_beside_them(job: Job, out: Path, tmp_path: Path) -> None:
    job.export("cutout", tmp_path, processes=1)
    assert files(tmp_path) == files(out)
    assert {name.split("/")[0] for name in files(out)} == {"cutouts", "cutouts.jsonl", "export.json"}


def test_labels_choose_what_is_cut_out(job: Job, tmp_path: Path) -> None:
    account = job.export("cutout", tmp_path, selection=Selection(labels=("car",), min_score=0.95), processes=1)
    assert [name for name in files(tmp_path) if name.startswith("cutouts/a")] == ["cutouts/a/crowded/003_car.png"]
    assert len(files(tmp_path)) == account.segments + 2


def test_an_image_that_has_changed_costs_itself_alone(job: Job, images: Path, tmp_path: Path) -> None:
    whole = (images / TURNED).read_bytes()
    moved = images / "b" / "elsewhere"
    (images / TURNED).rename(moved)
    try:
        (images / TURNED).write_bytes(whole)
        account = job.export("cutout", tmp_path, processes=1)
    finally:
        moved.replace(images / TURNED)
    assert [(problem.code, Path(problem.uri).name) for problem in account.problems] == [("image_changed", "turned.jpg")]
    assert account.images == len(SCENES) - 1
