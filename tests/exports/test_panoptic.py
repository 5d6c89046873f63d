"""COCO panoptic, read back by tools that it is for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco import panoptic
from PIL import Image

from maskmill import Job
from maskmill.dataset.selection import Selection
from tests.exports.scenes import LABELS, SCENES, THINGS, Map

ANNOTATIONS = Path("annotations/panoptic_default.json")


@pytest.fixture(scope="module")
def exported(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("panoptic")
    account = job.export("coco-panoptic", out, copy_images=True, processes=1)
    assert account.notes == {
        "images_without_stuff": 6, "images_without_things": 2, "stems_changed": 2, "stuff_fused": 1, "turned_upright": 1
    }  # fmt: skip
    return out


def ids_of(path: Path) -> Map:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        colours = np.asarray(image).astype(np.int64)
    return colours @ np.array([1, 256, 65536])


def panoptic_quality(truth: Path, found: Path) -> dict[str, Any]:
    evaluation = panoptic.PanopticEval(
        str(truth / ANNOTATIONS), str(found / ANNOTATIONS),
        gt_folder=str(truth / ANNOTATIONS.with_suffix("")), pred_folder=str(found / ANNOTATIONS.with_suffix("")),
    )  # fmt: skip
    evaluation.evaluate()
    return evaluation.results()


def test_hotcoco_gives_an_export_against_itself_the_whole_quality(exported: Path) -> None:
    found = panoptic_quality(exported, exported)
    assert [(found[each]["pq"], found[each]["n"]) for each in ("Things", "Stuff")] == [(1, 4), (1, 1)]


def test_an_export_with_less_has_less_quality(job: Job, exported: Path, tmp_path: Path) -> None:
    job.export("coco-panoptic", tmp_path, selection=Selection(min_score=0.9), processes=1)
    assert 0 < panoptic_quality(exported, tmp_path)["All"]["pq"] < 1


def test_colours_are_the_ids_and_the_list_has_no_other(exported: Path) -> None:
    found = json.loads((exported / ANNOTATIONS).read_bytes())
    names = {each["id"]: each["file_name"] for each in found["images"]}
    assert [each["image_id"] for each in found["annotations"]] == [each["id"] for each in found["images"]]
    largest = 0
    for annotation in found["annotations"]:
        ids = ids_of(exported / ANNOTATIONS.with_suffix("") / annotation["file_name"])
        name = names[annotation["image_id"]].replace("_jpg.jpg", ".jpg").replace("_png.png", ".png")
        wanted = np.where(SCENES[name].ids == 10, 7, SCENES[name].ids) if "crowded" in name else SCENES[name].ids
        infos = annotation["segments_info"]
        assert {each["id"] for each in infos} == set(np.unique(ids).tolist()) - {0}
        assert np.array_equal(ids, wanted)
        for each in infos:
            own = ids == each["id"]
            rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
            assert each["area"] == own.sum()
            assert each["bbox"] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert each["iscrowd"] == 0
        largest = max([largest, *(each["id"] for each in infos)])
    assert largest == 400


def test_things_are_told_from_stuff_and_have_colours_of_their_own(exported: Path) -> None:
    categories = json.loads((exported / ANNOTATIONS).read_bytes())["categories"]
    assert {each["name"] for each in categories if each["isthing"]} == THINGS
    assert {each["name"] for each in categories} == set(LABELS.values())
    assert len({tuple(each["color"]) for each in categories}) == len(categories)


def test_images_lie_beside_pngs_of_their_stem(exported: Path) -> None:
    found = json.loads((exported / ANNOTATIONS).read_bytes())
    pngs = {each["image_id"]: each["file_name"] for each in found["annotations"]}
    for image in found["images"]:
        assert (exported / "images" / "default" / image["file_name"]).is_file()
        assert pngs[image["id"]] == str(Path(image["file_name"]).with_suffix(".png"))


def test_the_same_bytes_when_it_is_made_again(job: Job, exported: Path, tmp_path: Path) -> None:
    job.export("coco-panoptic", tmp_path, copy_images=True, processes=1)
    files = [path.relative_to(exported) for path in sorted(exported.rglob("*")) if path.is_file()]
    assert files == [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert all((exported / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)
