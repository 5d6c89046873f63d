"""supervision reads COCO instances: every mask is the segment, holes and parts included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import supervision

from maskmill import Job
from tests.exports.scenes import SCENES

REQUIRES = ("supervision>=0.31,<1",)


def test_masks_are_the_segments(job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path, copy_images=True, processes=1)
    found = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "images"),
        annotations_path=str(tmp_path / "annotations.json"),
        force_masks=True,
    )
    assert len(found) == len(SCENES)
    for path, picture, detections in found:
        scene = SCENES[str(Path(path).relative_to(tmp_path / "images"))]
        assert picture.shape[:2] == scene.ids.shape
        assert len(detections) == len(scene.segments)
        masks = () if detections.mask is None else detections.mask
        for mask, index, segment in zip(masks, detections.class_id, scene.segments, strict=True):
            assert np.array_equal(mask, scene.ids == segment.id)
            assert found.classes[index] == segment.label
