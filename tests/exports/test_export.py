"""What all formats have in common: the account, going on, places, selection."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskmill import Job
from maskmill.dataset.selection import NewName, Selection
from maskmill.errors import UsageError
from tests.exports.scenes import SCENES


def test_one_and_two_processes_give_the_same_bytes_and_the_account_adds_up(job: Job, tmp_path: Path) -> None:
    account = job.export("coco-instances", tmp_path / "one", processes=1)
    job.export("coco-instances", tmp_path / "two", processes=2)
    assert (account.images, account.segments) == (len(SCENES), sum(len(each.of) for each in SCENES.values()))
    assert account.without_mask == {"failed": 1}
    for name in ("annotations.json", "export.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["annotations.json", "export.json"]


def test_run_lengths_are_the_segment_maps(job: Job, tmp_path: Path) -> None:
    job.export("coco-instances", tmp_path)
    coco = COCO(tmp_path / "annotations.json")
    assert {each["file_name"] for each in coco.imgs.values()} == set(SCENES)
    for image in coco.imgs.values():
        scene = SCENES[image["file_name"]]
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(found) == len(scene.of)
        for annotation, segment in zip(found, scene.segments, strict=True):
            assert np.array_equal(coco.annToMask(annotation), scene.ids == segment.id)
            assert (annotation["area"], tuple(annotation["bbox"])) == (segment.area, segment.box)
            assert coco.cats[annotation["category_id"]]["name"] == segment.label


def test_a_target_that_holds_something_else_is_refused(job: Job, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"is not empty \(there is 'mine.txt'\)"):
        job.export("coco-instances", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_same_again_is_there_already_and_another_is_refused(job: Job, tmp_path: Path) -> None:
    first = job.export("coco-instances", tmp_path)
    stamp = (tmp_path / "annotations.json").stat().st_mtime_ns
    assert job.export("coco-instances", tmp_path) == first
    assert (tmp_path / "annotations.json").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="holds another export"):
        job.export("coco-instances", tmp_path, selection=Selection(min_score=0.8))


def test_selection_drops_and_counts(job: Job, tmp_path: Path) -> None:
    selection = Selection(
        labels=("vehicle", "cat"), renamed={"car": NewName(name="vehicle")}, min_score=0.8, min_area=2
    )
    account = job.export("coco-instances", tmp_path, selection=selection)
    found = json.loads((tmp_path / "annotations.json").read_bytes())
    assert [(each["id"], each["name"]) for each in found["categories"]] == [(1, "vehicle"), (2, "cat")]
    wanted = [
        segment
        for scene in SCENES.values()
        for segment in scene.segments
        if segment.label in ("car", "cat") and (segment.score or 0) >= 0.8 and segment.area >= 2
    ]
    assert len(found["annotations"]) == len(wanted) == account.segments
    assert sum(account.segments_left_out.values()) + account.segments == sum(len(s.of) for s in SCENES.values())


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (Selection(labels=("cta",)), "--labels: the job has no label 'cta'"),
        (Selection(renamed={"dgo": NewName(name="dog")}), "--map-labels: the job has no label 'dgo'"),
        (Selection(things=("cat",), stuff=("cat",)), "cannot be among --things and --stuff"),
    ],
)
def test_labels_that_there_are_not_are_named(job: Job, tmp_path: Path, selection: Selection, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        job.export("coco-instances", tmp_path / "out", selection=selection)


def test_copies_are_upright_and_named_for_what_they_hold(job: Job, tmp_path: Path) -> None:
    account = job.export("coco-instances", tmp_path, copy_images=True)
    assert account.notes == {"turned_upright": 1}
    for image in json.loads((tmp_path / "annotations.json").read_bytes())["images"]:
        with Image.open(tmp_path / "images" / image["file_name"]) as copy:
            assert copy.size == (image["width"], image["height"])
            assert copy.getexif().get(0x0112, 1) == 1


def test_masks_have_stems_of_their_own(job: Job, tmp_path: Path) -> None:
    account = job.export("masks", tmp_path)
    assert account.notes["stems_changed"] == 2
    rows = [json.loads(line) for line in (tmp_path / "masks.jsonl").read_text().splitlines()]
    assert len({row["file_name"] for row in rows}) == len(rows) == account.segments
    assert {row["file_name"].split("/")[2] for row in rows if "twice" in row["image"]} == {"twice_jpg", "twice_png"}
    for row in rows:
        scene = SCENES[row["image"]]
        number = int(Path(row["file_name"]).name.partition("_")[0])
        assert np.array_equal(np.asarray(Image.open(tmp_path / row["file_name"])) == 255, scene.ids == number)


def test_an_export_goes_to_the_store(job: Job, tmp_path: Path) -> None:
    out = f"{job.out}/exports/coco"
    job.export("coco-instances", out)
    job.export("coco-instances", tmp_path)
    store = job.services.store(out)
    assert store.get("annotations.json") == (tmp_path / "annotations.json").read_bytes()
    assert sorted(item.key for item in store.list()) == ["annotations.json", "export.json"]
