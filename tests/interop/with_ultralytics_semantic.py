"""Ultralytics' data set of class maps finds a map for each image, with its classes and 255 where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import SemanticDataset
from ultralytics.data.utils import check_det_dataset

from maskmill import Job
from tests.exports.scenes import LABELS, SCENES

# AGPL: a peer in tests, never a dependency.
REQUIRES = ("ultralytics>=8.4.100,<9",)

TOO_SMALL = 10
"""Pixels a side; smaller images are taken for broken ones."""


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
