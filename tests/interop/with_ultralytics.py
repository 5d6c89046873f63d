"""Ultralytics trains on what `yolo-seg` writes: each row is found, drawn by its own rasteriser as the very segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, polygon2mask

from maskmill import Job
from tests.exports.scenes import SCENES

# AGPL-3.0: a test's peer alone, never a dependency.
REQUIRES = ("ultralytics>=8.4,<9",)


@pytest.mark.parametrize("parts", ["join", "split"])
def test_all_labels_are_found_and_drawn_as_the_segments(parts: str, job: Job, tmp_path: Path) -> None:
    account = job.export("yolo-seg", tmp_path, copy_images=True, parts=parts, processes=1)
    data = check_det_dataset(str(tmp_path / "data.yaml"))
    found = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)
    small = [name for name, scene in SCENES.items() if min(scene.ids.shape) < 10]
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
