"""COCO instances, read back by the tools that they are for."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faster_coco_eval
import hotcoco
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from skimage.measure import label
from skimage.morphology import flood

from maskmill import Client, Job
from maskmill.export.parts import Part
from maskmill.schema import Segment
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.scenes import SCENES, Map, Scene, made_job


def annotations(coco: Any) -> Iterator[tuple[dict[str, Any], Map, Any]]:
    """Each annotation with its image's map and its segment."""
    for image_id in coco.getImgIds():
        scene = SCENES[coco.loadImgs([image_id])[0]["file_name"]]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
        assert len(found) == len(scene.segments)
        for annotation, segment in zip(found, scene.segments, strict=True):
            yield annotation, scene.ids, segment


@pytest.mark.parametrize("reader", [COCO, hotcoco.COCO, faster_coco_eval.COCO])
def test_readers_find_each_segment_with_its_pixels(reader: Callable[[str], Any], job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path, processes=1)
    coco = reader(str(tmp_path / "annotations.json"))
    seen = 0
    for annotation, ids, segment in annotations(coco):
        seen += 1
        own = ids == segment.id
        assert np.array_equal(coco.annToMask(annotation), own)
        assert coco_mask.area(annotation["segmentation"]) == annotation["area"] == own.sum()
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == list(annotation["bbox"])
        assert annotation.get("score") == segment.score
        assert coco.loadCats([annotation["category_id"]])[0]["name"] == segment.label
    assert seen == sum(len(scene.of) for scene in SCENES.values())


def test_polygons_are_the_segments_with_their_holes_filled(job: Job, tmp_path: Path) -> None:
    account = job.export("coco-instances", tmp_path, polygons=True, processes=1)
    coco = COCO(tmp_path / "annotations.json")
    holes = 0
    for annotation, ids, segment in annotations(coco):
        own = ids == segment.id
        outside = flood(np.pad(own, 1), (0, 0), connectivity=2)[1:-1, 1:-1]
        holes += label(~own & ~outside, connectivity=2, return_num=True)[1]
        assert np.array_equal(coco.annToMask(annotation), ~outside)
        assert len(annotation["segmentation"]) == label(own, connectivity=1, return_num=True)[1]
        assert annotation["area"] == own.sum()
    assert account.notes == {"holes_filled": holes}
    assert holes == 1


LAYOUTS = {
    "plain": ("annotations.json", "images"),
    "cvat": ("annotations/instances_default.json", "images/default"),
    "roboflow": ("train/_annotations.coco.json", "train"),
    "fiftyone": ("labels.json", "data"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_have_the_same_in_other_places(layout: str, job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path, layout=layout, copy_images=True, processes=1)
    file, folder = LAYOUTS[layout]
    found = json.loads((tmp_path / file).read_bytes())
    assert len(found["images"]) == len(SCENES)
    for image in found["images"]:
        with Image.open(tmp_path / folder / image["file_name"]) as copy:
            assert copy.size == (image["width"], image["height"])
    others = {path.name for path in tmp_path.rglob("*.json")} - {Path(file).name}
    assert others == {"export.json"}


@pytest.mark.parametrize(("layout", "processes"), list(zip(LAYOUTS, (1, 2, 1, 1), strict=True)))
def test_several_files_have_together_what_one_has(layout: str, processes: int, job: Job, tmp_path: Path) -> None:
    """Three images a file, and five a shard: two shards add to the second file."""
    job.export("coco-instances", tmp_path / "one", layout=layout, processes=1)
    job.export("coco-instances", tmp_path / "several", layout=layout, images_per_file=3, processes=processes)
    whole = json.loads((tmp_path / "one" / LAYOUTS[layout][0]).read_bytes())
    paths = sorted(path for path in (tmp_path / "several").rglob("*.json") if path.name != "export.json")
    assert len(paths) == 3
    assert all("0002" in str(path) for path in paths[1:2])
    files = [json.loads(path.read_bytes()) for path in paths]
    assert [len(each["images"]) for each in files] == [3, 3, 3]
    for each in files:
        images = {image["id"] for image in each["images"]}
        assert {annotation["image_id"] for annotation in each["annotations"]} <= images
        assert each["categories"] == whole["categories"]
    for name in ("images", "annotations"):
        assert [row for each in files for row in each[name]] == whole[name]


def test_a_shard_has_a_bounded_number_of_open_files(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image a file, and shards of thousands of images in large jobs."""
    opened: list[int] = []
    leave = Part.__exit__

    def watched(part: Part, *error: object) -> None:
        opened.append(len(part._files))
        leave(part, *error)

    monkeypatch.setattr(Part, "__exit__", watched)
    job.export("coco-instances", tmp_path, images_per_file=1, processes=1)
    assert max(opened) <= 2


@pytest.mark.parametrize("copy_images", [False, True])
def test_no_two_images_have_one_stem_for_cvat(copy_images: bool, job: Job, tmp_path: Path) -> None:
    """Datumaro, by which CVAT reads, refuses the whole file (RepeatedItemError)."""
    account = job.export("coco-instances", tmp_path, layout="cvat", copy_images=copy_images, processes=1)
    assert account.notes["stems_changed"] == 2
    found = json.loads((tmp_path / "annotations" / "instances_default.json").read_bytes())
    names = [image["file_name"] for image in found["images"]]
    assert len({Path(name).with_suffix("") for name in names}) == len(SCENES)
    assert {"b/twice_jpg.jpg", "b/twice_png.png"} <= set(names)


def test_copies_lie_in_the_folder_of_their_file(job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path, layout="roboflow", images_per_file=4, copy_images=True, processes=1)
    for path in tmp_path.rglob("_annotations.coco.json"):
        for image in json.loads(path.read_bytes())["images"]:
            assert (path.parent / image["file_name"]).is_file()


@pytest.mark.parametrize("form", ["coco-instances", "coco-panoptic", "yolo-seg"])
def test_a_mask_that_lacks_a_segment_of_its_list_costs_itself_alone(
    form: str, servers: embedded.Servers, tmp_path: Path
) -> None:
    """Readers fail for ids that have no pixel; a segment that others cover wholly (area 0) is left out before."""

    class Wrong(Scene):
        @property
        def segments(self) -> tuple[Segment, ...]:
            return tuple(replace(each, area=144) for each in super().segments)

    covered = {1: (2, 0.9), 2: (1, 0.5)}
    ids = np.ones((12, 12), np.uint8)
    (tmp_path / "images").mkdir()
    scenes = {"a.png": Wrong(ids, covered), "b.png": Scene(ids, covered)}
    job = made_job(Client(settings_of(servers)), tmp_path / "images", scenes)
    account = job.export(form, tmp_path / "out", processes=1)
    assert (account.images, account.not_exported, account.segments_left_out) == (1, 1, {"no_pixels": 1})
    assert account.problems[0].reason.startswith("masks/")
    assert "has no pixel of its segment 2" in account.problems[0].reason
    assert account.segments == 1


def test_a_job_without_a_mask_gives_a_file_without_images(servers: embedded.Servers, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    job = made_job(Client(settings_of(servers)), tmp_path / "images", {})
    job.export("coco-instances", tmp_path / "out", processes=1)
    found = json.loads((tmp_path / "out" / "annotations.json").read_bytes())
    assert (found["images"], found["annotations"]) == ([], [])
