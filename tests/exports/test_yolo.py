"""YOLO segmentation: rasterised as Ultralytics does it, rows come back as the very segments."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from maskmill import Job
from maskmill.dataset.selection import Selection
from maskmill.export.yolo_seg import _quoted
from tests.exports.scenes import LABELS, SCENES

STEMS = {Path(name).with_suffix("").as_posix(): name for name in SCENES} | {
    "b/twice_jpg": "b/twice.jpg",
    "b/twice_png": "b/twice.png",
}


def rows_of(path: Path) -> list[tuple[int, NDArray[np.float32]]]:
    """As `ultralytics/data/utils.py: verify_image_label` reads them."""
    rows = [line.split() for line in path.read_text().strip().splitlines() if line]
    return [(int(row[0]), np.array(row[1:], np.float32).reshape(-1, 2)) for row in rows]


def drawn(ring: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """As `polygon2mask` does: truncated to whole pixels, and filled with the border."""
    mask = np.zeros((height, width), np.uint8)
    points = (ring * np.array([width, height], np.float32)).astype(np.int32)
    cv2.fillPoly(mask, [points], color=1)
    return mask > 0


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def classes(out: Path) -> dict[int, str]:
    names: dict[int, str] = yaml.safe_load((out / "data.yaml").read_text())["names"]
    return names


def test_rows_drawn_are_the_segments(job: Job, tmp_path: Path) -> None:
    account = job.export("yolo-seg", tmp_path, processes=1)
    assert account.notes == {
        "in_parts": 2, "one_pixel_wide": 6, "smaller_than_10_pixels": 4, "stems_changed": 2
    }  # fmt: skip
    names = classes(tmp_path)
    files = sorted((tmp_path / "labels").rglob("*.txt"))
    assert len(files) == len(SCENES)
    seen = 0
    for path in files:
        scene = SCENES[STEMS[path.relative_to(tmp_path / "labels").with_suffix("").as_posix()]]
        height, width = scene.ids.shape
        rows = rows_of(path)
        assert [names[index] for index, _ in rows] == [segment.label for segment in scene.segments]
        for (_, ring), segment in zip(rows, scene.segments, strict=True):
            assert len(ring) >= 3
            parts = cv2.connectedComponents((scene.ids == segment.id).astype(np.uint8), connectivity=4)[0] - 1
            agreed = iou(drawn(ring, width, height), scene.ids == segment.id)
            assert agreed == 1 if parts == 1 else agreed > 0.99
            seen += 1
    assert seen == account.segments


def test_split_parts_are_exact_rows_of_their_own(job: Job, tmp_path: Path) -> None:
    job.export("yolo-seg", tmp_path, processes=1, parts="split", selection=Selection(labels=("car",)))
    scene = SCENES["a/crowded.jpg"]
    rows = rows_of(tmp_path / "labels" / "a" / "crowded.txt")
    assert [index for index, _ in rows] == [0] * 4  # a car in two parts, and one whose parts touch at a corner
    masks = [drawn(ring, 640, 480) for _, ring in rows]
    assert np.array_equal(masks[0] | masks[1], scene.ids == 3)
    assert np.array_equal(masks[2] | masks[3], scene.ids == 9)


def test_classes_count_from_0_whatever_ids_the_labels_have(job: Job, tmp_path: Path) -> None:
    job.export("yolo-seg", tmp_path, processes=1, selection=Selection(category_ids="label"))
    assert classes(tmp_path) == dict(enumerate(LABELS.values()))


def test_labels_mirror_the_copies_by_stem(job: Job, tmp_path: Path) -> None:
    job.export("yolo-seg", tmp_path, processes=1, copy_images=True)
    images = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert len(images) == len(SCENES)
    for path in images:
        name = path.relative_to(tmp_path / "images").with_suffix("")
        assert (tmp_path / "labels" / name).with_suffix(".txt").is_file()
        with Image.open(path) as image:
            assert image.size[::-1] == SCENES[STEMS[name.as_posix()]].ids.shape
    config = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert (config["train"], config["val"], "path" in config) == ("images", "images", False)


@pytest.mark.parametrize("name", ["traffic light", 'say "no": # yes', "é\n\t\x7f", "\U0001f600 \u2028", "- true", "0"])
def test_any_name_of_a_class_is_itself_in_yaml(name: str) -> None:
    assert yaml.safe_load(f"0: {_quoted(name)}")[0] == name
