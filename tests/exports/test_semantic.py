"""Class maps: one number a pixel, as Pillow and OpenCV read them, and beside them what the numbers mean."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmill import Client, Job
from maskmill.colours import colour_of
from maskmill.dataset.selection import Selection
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.files import files
from tests.exports.scenes import LABELS, SCENES, Scene, made_job

MANY = 300


def classes(scene: Scene, numbers: dict[str, int], unlabelled: int) -> NDArray[np.integer]:
    wanted = np.full(scene.ids.shape, unlabelled)
    for each in scene.segments:
        wanted[scene.ids == each.id] = numbers[str(each.label)]
    return wanted


def check(out: Path, unlabelled: int, numbers: dict[str, int]) -> None:
    assert json.loads((out / "classes.json").read_text()) == {
        "unlabelled": unlabelled, "classes": {str(number): name for name, number in numbers.items()},
    }  # fmt: skip
    assert json.loads((out / "palette.json").read_text()) == {
        str(number): list(colour_of(name)) for name, number in numbers.items()
    }
    rows = [json.loads(line) for line in (out / "masks.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [Path(row["image"]).name for row in rows] == [Path(name).name for name in SCENES]
    for row, scene in zip(rows, SCENES.values(), strict=True):
        with Image.open(out / row["file_name"]) as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), classes(scene, numbers, unlabelled))
        by_cv2 = cv2.imread(str(out / row["file_name"]), cv2.IMREAD_UNCHANGED)
        assert by_cv2 is not None
        assert np.array_equal(by_cv2, classes(scene, numbers, unlabelled))


def test_classes_count_from_0_and_255_is_none(job: Job, tmp_path: Path) -> None:
    account = job.export("semantic", tmp_path, processes=1)
    assert account.notes == {"stems_changed": 2}
    check(tmp_path, 255, {name: number for number, name in enumerate(LABELS.values())})


def test_with_0_for_none_classes_count_from_1(job: Job, tmp_path: Path) -> None:
    job.export("semantic", tmp_path, unlabelled=0, processes=1)
    check(tmp_path, 0, {name: number for number, name in enumerate(LABELS.values(), 1)})


def test_mmsegmentation_makes_the_one_of_the_other(job: Job, tmp_path: Path) -> None:
    for unlabelled in (0, 255):
        job.export("semantic", tmp_path / str(unlabelled), unlabelled=unlabelled, processes=1)
    for path in sorted((tmp_path / "0" / "masks").rglob("*.png")):
        # `LoadAnnotations(reduce_zero_label=True)`: mmseg/datasets/transforms/loading.py
        found = np.asarray(Image.open(path)).squeeze().astype(np.uint8)
        found[found == 0] = 255
        found = found - 1
        found[found == 254] = 255
        other = tmp_path / "255" / path.relative_to(tmp_path / "0")
        assert np.array_equal(found, np.asarray(Image.open(other)))


def test_classes_can_be_the_model_s_own_numbers(job: Job, tmp_path: Path) -> None:
    job.export("semantic", tmp_path, selection=Selection(category_ids="label"), processes=1)
    check(tmp_path, 255, {name: number for number, name in LABELS.items()})


def test_maps_mirror_the_images_that_are_copied_and_ultralytics_finds_them(job: Job, tmp_path: Path) -> None:
    job.export("semantic", tmp_path, copy_images=True, processes=1)
    found = files(tmp_path)
    stems = {
        folder: {name.removeprefix(f"{folder}/").rpartition(".")[0] for name in found if name.startswith(f"{folder}/")}
        for folder in ("images", "masks")
    }
    assert stems["images"] == stems["masks"] > {"b/twice_jpg", "b/twice_png", "b/turned"}
    assert json.loads(found["data.yaml"]) == {
        "train": "images", "val": "images", "masks_dir": "masks",
        "names": {str(number): name for number, name in enumerate(LABELS.values())},
    }  # fmt: skip


def test_the_same_bytes_again(job: Job, tmp_path: Path) -> None:
    for out in ("one", "two"):
        job.export("semantic", tmp_path / out, processes=1)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize(
    ("many", "unlabelled", "mode", "shift"),
    [
        (255, 255, "L", 0),
        (256, 255, "I;16", 0),
        (255, 0, "L", 1),
        (256, 0, "I;16", 1),
    ],
)
def test_where_8_bits_do_not_hold_the_classes_maps_have_16(
    many: int, unlabelled: int, mode: str, shift: int, servers: embedded.Servers, tmp_path: Path
) -> None:
    labels = {number: f"class {number}" for number in range(many)}
    ids = np.zeros((2, MANY), np.uint16)
    ids[0, :many] = np.arange(1, many + 1)
    scene = Scene(ids, {each: (each - 1, None) for each in range(1, many + 1)}, labels)
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), {"a.png": scene})
    job.export("semantic", tmp_path / "out", unlabelled=unlabelled, processes=1)
    none = {("L", 255): 255, ("I;16", 255): 65535}.get((mode, unlabelled), 0)
    assert json.loads((tmp_path / "out" / "classes.json").read_text())["unlabelled"] == none
    with Image.open(tmp_path / "out" / "masks" / "a.png") as mask:
        assert mask.mode == mode
        assert np.asarray(mask).tolist() == [[*range(shift, many + shift), *[none] * (MANY - many)], [none] * MANY]
