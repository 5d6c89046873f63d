"""Roboflow's uploader finds each image's own annotations in its layout, polygons among them."""

from __future__ import annotations

import json
from pathlib import Path

from roboflow.util import folderparser

from maskmill import Job
from tests.exports.scenes import SCENES

REQUIRES = ("roboflow-slim>=1.7,<2", "pillow-avif-plugin", "tqdm")


def test_each_image_goes_up_with_its_own_annotations(job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path, layout="roboflow", polygons=True, copy_images=True, processes=1)
    found = folderparser.parsefolder(str(tmp_path / "train"))["images"]
    assert {each["file"].lstrip("/") for each in found} == set(SCENES)
    for each in found:
        scene = SCENES[each["file"].lstrip("/")]
        sent = json.loads(each["annotationfile"]["rawText"])
        real = [annotation for annotation in sent["annotations"] if annotation["segmentation"]]
        assert len(real) == len(scene.segments)
        assert sum(annotation["area"] for annotation in real) == (scene.ids > 0).sum()
