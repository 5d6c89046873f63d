"""Datumaro, by which CVAT reads, opens COCO instances in CVAT's layout, and COCO panoptic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from maskmill import Job
from tests.exports.scenes import SCENES, Scene

REQUIRES = ("datumaro>=1.13,<2",)


def scene_of(stem: str) -> Scene:
    """Datumaro knows images by their stem."""
    name = stem.replace("twice_jpg", "twice.jpg").replace("twice_png", "twice.png")
    return next(scene for file, scene in SCENES.items() if name in (file, file.rpartition(".")[0]))


def check(found: Any, fused: dict[int, int]) -> None:
    """All images are there, with their segments' very pixels and labels; `fused` ids are part of others."""
    labels = found.categories()[AnnotationType.label]
    seen = 0
    for item in found:
        scene = scene_of(item.id)
        ids = scene.ids.copy()
        for part, whole in fused.items():
            ids[ids == part] = whole if "crowded" in item.id else part
        found_masks = [each for each in item.annotations if each.type is AnnotationType.mask]
        masks = {(each.image > 0).tobytes(): labels[each.label].name for each in found_masks}
        wanted = {
            (ids == segment.id).tobytes(): segment.label for segment in scene.segments if (ids == segment.id).any()
        }
        assert masks == wanted
        seen += 1
    assert seen == len(SCENES)


@pytest.mark.parametrize("copy_images", [False, True])
@pytest.mark.parametrize("form", ["coco_instances", "coco"])
def test_instances_are_masks_with_labels(form: str, copy_images: bool, job: Job, tmp_path: Path) -> None:
    account = job.export("coco-instances", tmp_path, layout="cvat", copy_images=copy_images, processes=1)
    assert account.notes["stems_changed"] == 2
    (tmp_path / "images").mkdir(exist_ok=True)  # it must be there, and may be empty
    check(Dataset.import_from(str(tmp_path), form), fused={})


def test_panoptic_segments_are_masks_with_labels(job: Job, tmp_path: Path) -> None:
    job.export("coco-panoptic", tmp_path, copy_images=True, processes=1)
    check(Dataset.import_from(str(tmp_path), "coco_panoptic"), fused={10: 7})
