"""Ultralytics reads `yolo-seg`, each row drawn by its own rasteriser as the very segment, and class maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import SemanticDataset, YOLODataset
from ultralytics.data.utils import check_det_dataset, polygon2mask

from maskmill import Job
from tests.documents import ROOT, blocks
from tests.exports.scenes import LABELS, SCENES

# AGPL-3.0: a test's peer alone, never a dependency.
REQUIRES = ("ultralytics>=8.4.100,<9",)

TOO_SMALL = 10
"""Pixels a side; smaller images are taken for broken ones."""


@pytest.mark.parametrize("parts", ["join", "split"])
def test_all_labels_are_found_and_drawn_as_the_segments(parts: str, job: Job, tmp_path: Path) -> None:
    account = job.export("yolo-seg", tmp_path, copy_images=True, parts=parts, processes=1)
    data = check_det_dataset(str(tmp_path / "data.yaml"))
    found = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)
    small = [name for name, scene in SCENES.items() if min(scene.ids.shape) < TOO_SMALL]
    assert len(found.labels) == len(SCENES) - len(small)
    assert account.notes["smaller_than_10_pixels"] == len(small)
    for label in found.labels:
        name = str(Path(label["im_file"]).relative_to(tmp_path / "images"))
        scene = SCENES[name]
        height, width = label["shape"]
        assert (height, width) == scene.ids.shape
        masks = [
            polygon2mask((height, width), [(ring * [width, height]).reshape(-1)], color=1) > 0
            for ring in label["segments"]
        ]
        names = [data["names"][int(index)] for index in label["cls"][:, 0]]
        for segment in scene.segments:
            own = scene.ids == segment.id
            alike = [mask for mask, name in zip(masks, names, strict=True) if name == segment.label]
            if parts == "join":
                assert max((mask & own).sum() / (mask | own).sum() for mask in alike) > 0.99
            else:
                within = [mask for mask in alike if not (mask & ~own).any()]
                assert np.array_equal(np.any(within, axis=0), own)


def test_images_set_aside_as_the_page_says_are_found_with_their_labels(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.export("yolo-seg", tmp_path / "yolo", copy_images=True, processes=1)
    page = "docs/training.md"
    [block] = [each for each in blocks(page, (ROOT / page).read_text()) if "val.txt" in each.text]
    monkeypatch.chdir(tmp_path)
    exec(block.text, {})
    data = check_det_dataset(str(tmp_path / "yolo" / "data.yaml"))
    found = {
        part: YOLODataset(img_path=data[part], data=data, task="segment", augment=False) for part in ("train", "val")
    }
    assert len(found["train"].labels) + len(found["val"].labels) == sum(
        min(scene.ids.shape) >= TOO_SMALL for scene in SCENES.values()
    )
    assert sum(len(label["cls"]) for label in found["train"].labels + found["val"].labels) > 400


def test_maps_are_found_beside_the_images(job: Job, tmp_path: Path) -> None:
    job.export("semantic", tmp_path, copy_images=True, processes=1)
    data = check_det_dataset(str(tmp_path / "data.yaml"), autodownload=False)
    assert data["names"] == dict(enumerate(LABELS.values()))
    found = SemanticDataset(
        img_path=str(tmp_path / "images"), data=data, task="semantic", augment=False, imgsz=640, hyp=get_cfg()
    )
    scenes = {name.rpartition(".")[0]: scene for name, scene in SCENES.items() if min(scene.ids.shape) >= TOO_SMALL}
    seen = set()
    for number in range(len(found)):
        labels = found.get_image_and_label(number)
        name = str(Path(labels["im_file"]).relative_to(tmp_path / "images").with_suffix(""))
        numbers = {label: index for index, label in enumerate(LABELS.values())}
        values = {numbers[str(each.label)] for each in scenes[name].segments}
        values |= {255} if (scenes[name].ids == 0).any() else set()
        assert {*np.unique(np.asarray(labels["semantic_mask"])).tolist()} == values
        seen.add(name)
    assert seen == {*scenes}
