"""Label Studio's tasks: brush masks read by their description, and an interface that has the tasks' own labels.

What the SDK makes of them is in tests/interop/with_label_studio.py: it brings a hundred packages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from maskmill import Client, Job
from maskmill.export import label_studio
from maskmill.export.label_studio import label_config, xml_labels
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.brushes import painted
from tests.exports.files import files
from tests.exports.scenes import LABELS, SCENES, Scene, made_job


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("label-studio") / "tasks"
    assert job.export("label-studio", out, processes=1).notes == {}
    return out


def tasks(out: Path) -> list[dict[str, Any]]:
    return [task for path in sorted(out.glob("tasks-*.json")) for task in json.loads(path.read_text(encoding="utf-8"))]


def test_brushes_paint_the_segments(out: Path) -> None:
    found = tasks(out)
    assert [task["data"]["name"] for task in found] == [*SCENES]
    for task in found:
        scene = SCENES[task["data"]["name"]]
        [prediction] = task["predictions"]
        assert prediction["model_version"].startswith("demo ")
        scores = [each.score for each in scene.segments if each.score is not None]
        assert prediction.get("score") == min(scores, default=None)
        assert len(prediction["result"]) == len(scene.of)
        for region, segment in zip(prediction["result"], scene.segments, strict=True):
            assert (region["original_height"], region["original_width"]) == scene.ids.shape
            assert (region["type"], region["image_rotation"]) == ("brushlabels", 0)
            assert region.get("score") == segment.score
            assert region["value"]["brushlabels"] == [segment.label]
            if task["data"]["name"] != "b/many.png" or segment.id % 50 == 0:
                mask = painted(region["value"]["rle"], *scene.ids.shape)
                assert np.array_equal(mask, scene.ids == segment.id)


def test_the_interface_has_each_label_once_and_names_that_the_tasks_use(out: Path) -> None:
    view = ElementTree.fromstring((out / "label_config.xml").read_text(encoding="utf-8"))
    image, brushes = view
    assert [each.get("value") for each in brushes] == [*LABELS.values()]
    assert (image.get("value"), brushes.get("toName")) == ("$image", image.get("name"))
    regions = [region for task in tasks(out) for each in task["predictions"] for region in each["result"]]
    assert {(each["from_name"], each["to_name"]) for each in regions} == {(brushes.get("name"), image.get("name"))}
    assert "image" in tasks(out)[0]["data"]


def test_images_are_where_label_studio_serves_local_files(out: Path) -> None:
    for task in tasks(out):
        address = urlsplit(task["data"]["image"])
        assert address.path == "/data/local-files/"
        assert parse_qs(address.query) == {"d": [task["data"]["name"]]}
        assert not address.fragment


@pytest.mark.parametrize(
    ("root", "encoded"),
    [
        ("https://images.example/a", True), ("/data/local-files/?d=photos/", True), ("s3://bucket/a", False),
    ],
)  # fmt: skip
def test_images_are_below_a_root_that_is_named(job: Job, tmp_path: Path, root: str, encoded: bool) -> None:
    job.export("label-studio", tmp_path, image_root=root, processes=1)
    for task in tasks(tmp_path):
        address, name = task["data"]["image"], task["data"]["name"]
        assert (unquote(address) if encoded else address) == f"{root.rstrip('/')}/{name}"
        assert ("#" in address) == (not encoded and "#" in name)


def test_copies_are_named_and_upright(job: Job, tmp_path: Path) -> None:
    assert job.export("label-studio", tmp_path, copy_images=True, processes=1).notes == {"turned_upright": 1}
    for task in tasks(tmp_path):
        [name] = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
        with Image.open(tmp_path / name) as copy:
            assert copy.size == SCENES[task["data"]["name"]].ids.shape[::-1]


def test_files_have_so_many_tasks_and_bytes(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (label_studio.TASKS_IN_FILE, label_studio.MAX_BYTES) == (1000, 100_000_000)
    job.export("label-studio", tmp_path / "four", images_per_file=4, processes=1)
    assert [len(json.loads(path.read_text())) for path in sorted((tmp_path / "four").glob("tasks*"))] == [4, 4, 1]
    monkeypatch.setattr(label_studio, "MAX_BYTES", 1)
    job.export("label-studio", tmp_path / "small", processes=1)
    assert [task["data"]["name"] for task in tasks(tmp_path / "small")] == [*SCENES]
    assert len([*(tmp_path / "small").glob("tasks*")]) == len(SCENES)


def test_the_same_bytes_again(job: Job, out: Path, tmp_path: Path) -> None:
    job.export("label-studio", tmp_path, processes=1)
    assert files(tmp_path) == files(out)


ODD = {
    0: '<b a="1">&amp;',
    1: "$image",
    2: "_$image",
    3: "two\nlines ",
    4: "nul\x00",
    5: "nul\ufffd",
    6: "",
    7: "кот 🐈",
}


def test_foreign_labels_stay_labels(servers: embedded.Servers, tmp_path: Path) -> None:
    ids = np.arange(1, 1 + len(ODD), dtype=np.uint8)[None].repeat(3, axis=0)
    scene = Scene(ids, {each: (each - 1, 0.5) for each in range(1, 1 + len(ODD))}, ODD)
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), {"a.png": scene})
    account = job.export("label-studio", tmp_path / "out", processes=1)
    assert account.notes == {"labels_changed": 4}
    view = ElementTree.fromstring((tmp_path / "out" / "label_config.xml").read_bytes())
    [task] = tasks(tmp_path / "out")
    used = [region["value"]["brushlabels"][0] for region in task["predictions"][0]["result"]]
    assert used == [each.get("value") for each in view[1]]
    assert used == [
        ODD[0], "_$image (2)", ODD[2], "two lines", "nul\ufffd (2)", ODD[5], "(empty)", ODD[7],
    ]  # fmt: skip


def test_labels_of_a_config_are_attributes_alone() -> None:
    text = label_config(xml_labels(['"/><Text name="x" value="$y"/><a b="']).values())
    assert [each.tag for each in ElementTree.fromstring(text).iter()] == ["View", "Image", "BrushLabels", "Label"]
