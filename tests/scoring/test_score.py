"""A job's score against each kind of truth: equal where the truth is the masks, and known figures where it is not."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex

import numpy as np
import pytest
from hotcoco import panoptic as hotcoco_panoptic
from PIL import Image

from maskmill import Client, Job
from maskmill.dataset.selection import NewName, Selection
from maskmill.errors import UsageError
from maskmill.scoring.scores import ClassScore, Scores
from tests.exports.scenes import LABELS, SCENES, THINGS, Scene, made_job
from tests.scoring import truths

Truth = Callable[[Path, Mapping[str, Scene]], Path]


def own_place(client: Client) -> str:
    """An output prefix for a job whose masks would replace another's."""
    return f"{client.settings.out}/{token_hex(4)}"


def class_of(scores: Scores, name: str) -> ClassScore:
    return next(each for each in scores.classes if each.name.casefold() == name)


@pytest.mark.parametrize("truth", [truths.panoptic, truths.instances, truths.class_ids])
def test_masks_are_perfect_against_themselves(truth: Truth, job: Job, tmp_path: Path) -> None:
    scores = job.score(truth(tmp_path, SCENES), max_detections=400)
    assert scores.all.pq == scores.all.sq == scores.all.rq == scores.mean_iou == scores.accuracy == 1.0
    assert scores.images.scored == len(SCENES)
    assert (scores.images.missing, scores.images.without_truth, scores.images.ambiguous) == (0, 1, 0)
    assert scores.without_truth[0].endswith("z/broken.jpg")
    assert scores.classes_without_label == ()
    if truth is truths.class_ids:
        assert (scores.ap, scores.no_ap) == (None, "class ids do not tell things apart")
        assert scores.things.pq is None
    else:
        assert scores.ap
        assert scores.ap.ap == pytest.approx(1.0)
        assert scores.things.classes == len(THINGS)


@pytest.mark.parametrize(
    ("form", "name"),
    [("coco-panoptic", "annotations/panoptic_default.json"), ("coco-instances", "annotations.json"), ("semantic", "")],
)
def test_an_export_is_a_truth(form: str, name: str, job: Job, tmp_path: Path) -> None:
    """Corrected by a person, say, who was given it."""
    job.export(form, tmp_path / "export")
    scores = job.score(tmp_path / "export" / name)
    assert (scores.all.pq, scores.mean_iou, scores.images.scored) == (1.0, 1.0, len(SCENES))
    assert scores.images.missing == 0


def test_two_processes_give_the_same(job: Job, tmp_path: Path) -> None:
    """Also for what the job does not have, which is scored by itself."""
    truth = truths.panoptic(tmp_path, shifted({**SCENES, "nowhere.jpg": SCENES["a/crowded.jpg"]}))
    done: list[tuple[int, int]] = []
    found = job.score(truth, processes=2, on_progress=lambda *numbers: done.append(numbers))
    assert found == job.score(truth, processes=1)
    assert done[-1] == (len(SCENES) + 1, len(SCENES) + 1)


def test_figures_are_hotcocos(job: Job, tmp_path: Path) -> None:
    scores = job.score(truths.panoptic(tmp_path, shifted(SCENES)), ap=False)
    predicted = truths.panoptic(tmp_path / "predicted", SCENES)
    theirs = hotcoco_panoptic.PanopticEval(
        tmp_path / "panoptic.json", predicted, gt_folder=tmp_path / "panoptic", pred_folder=predicted.with_suffix("")
    )
    theirs.evaluate()
    expected = theirs.results()
    for ours, name in ((scores.all, "All"), (scores.things, "Things"), (scores.stuff, "Stuff")):
        found = (ours.pq, ours.sq, ours.rq, ours.classes)
        assert found == pytest.approx(tuple(expected[name][each] for each in ("pq", "sq", "rq", "n")))
    assert 0.1 < (scores.all.pq or 0) < 0.95
    assert scores.no_ap == "not asked for"


def shifted(scenes: Mapping[str, Scene]) -> dict[str, Scene]:
    """The same scenes, moved a little: a truth that the masks are not quite."""
    return {name: Scene(np.roll(scene.ids, (1, 2), (0, 1)), scene.of) for name, scene in scenes.items()}


def test_stuff_in_two_segments_is_one(job: Job, tmp_path: Path) -> None:
    scores = job.score(truths.panoptic(tmp_path, SCENES))
    sky = class_of(scores, "sky-other-merged")
    assert (sky.true, sky.predicted, sky.pq) == (3, 3, 1.0)
    assert sum(label == 3 for scene in SCENES.values() for label, _ in scene.of.values()) == 4


def test_a_failed_image_counts_as_empty_and_a_missing_one_as_missed(job: Job, tmp_path: Path) -> None:
    more = {**SCENES, "z/broken.jpg": SCENES["a/small.png"], "nowhere.jpg": SCENES["a/small.png"]}
    scores = job.score(truths.panoptic(tmp_path, more))
    assert scores.images.without_mask == {"not_an_image": 1}
    assert (scores.images.scored, scores.images.missing, scores.missing) == (len(SCENES) + 1, 1, ("nowhere.jpg",))
    car = class_of(scores, "car")
    assert car.true - car.matched == 2
    assert {(each.truth, each.without_mask) for each in scores.worst[:2]} == {
        ("nowhere.jpg", "not in the job"),
        ("z/broken.jpg", "not_an_image"),
    }

    left_out = job.score(truths.panoptic(tmp_path, more), only_submitted=True)
    car = class_of(left_out, "car")
    assert car.true - car.matched == 1
    assert left_out.images.missing_left_out


def test_labels_that_the_truth_does_not_have_count_for_nothing_unless_they_are_mapped(job: Job, tmp_path: Path) -> None:
    truth = truths.panoptic(tmp_path, SCENES)
    text = truth.read_text().replace('"CAR"', '"vehicle"').replace('"CAT"', '"pet"')
    truth.write_text(text)

    scores = job.score(truth)
    assert set(scores.labels_without_class) == {"car", "cat"}
    assert set(scores.classes_without_label) == {"vehicle", "pet"}
    assert (class_of(scores, "pet").pq, class_of(scores, "person").pq) == (0.0, 1.0)

    renamed = {"car": NewName(name="Vehicle"), "cat": NewName(name="pet")}
    mapped = job.score(truth, selection=Selection(renamed=renamed))
    assert mapped.all.pq == 1.0
    assert mapped.labels_without_class == {}


def test_a_higher_score_threshold_is_tried_without_the_model(job: Job, tmp_path: Path) -> None:
    scores = job.score(truths.instances(tmp_path, SCENES), selection=Selection(min_score=0.8, labels=("cat",)))
    true = [score for scene in SCENES.values() for label, score in scene.of.values() if LABELS[label] == "cat"]
    kept = [score for score in true if (score or 0) >= 0.8]
    assert [each.name for each in scores.classes] == ["CAT"]
    assert {name for each in scores.worst for name in each.missed} == {"CAT"}
    assert scores.worst[0].pq is not None
    assert {each.true for each in scores.confused} == {"CAT"}
    cats = [segment for scene in SCENES.values() for segment in scene.segments if segment.label == "cat"]
    found = sum(segment.area for segment in cats if (segment.score or 0) >= 0.8)
    assert scores.accuracy == pytest.approx(found / sum(segment.area for segment in cats))
    assert (scores.classes[0].true, scores.classes[0].matched) == (len(true), len(kept))
    assert scores.all.pq == pytest.approx(len(kept) / (len(kept) + 0.5 * (len(true) - len(kept))))


def test_images_of_two_sizes_and_broken_truth_cost_themselves_alone(job: Job, tmp_path: Path) -> None:
    scenes = dict(SCENES)
    scenes["b/turned.jpg"] = Scene(np.rot90(SCENES["b/turned.jpg"].ids).copy(), SCENES["b/turned.jpg"].of)
    truth = truths.panoptic(tmp_path, scenes)
    (tmp_path / "panoptic" / "a_small.png.png").write_bytes(b"no PNG")
    (tmp_path / "panoptic" / "a_whole.jpg.png").unlink()
    Image.new("L", (7, 5)).save(tmp_path / "panoptic" / "b_twice.jpg.png")
    Image.new("RGB", (7, 5), (9, 9, 0)).save(tmp_path / "panoptic" / "b_twice.png.png")

    rows = tmp_path / "rows.jsonl"
    scores = job.score(truth, rows=rows)
    problems = {Path(each.uri).name: (each.code, each.reason) for each in scores.problems}
    assert scores.images.not_scored == len(problems) == 5
    assert scores.images.scored == len(SCENES) - 5
    assert scores.all.pq == 1.0
    code, reason = problems["turned.jpg"]
    assert (code, "60 × 40 pixels large, the image 40 × 60: is one of the image before its EXIF" in reason) == (
        "sizes_differ",
        True,
    )
    assert "is not a whole PNG" in problems["small.png"][1]
    assert "is missing" in problems["whole.jpg"][1]
    assert "is L, not RGB" in problems["twice.jpg"][1]
    assert "have the number 2313, which no segment" in problems["twice.png"][1]
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [("code" in line) for line in lines] == [True] * 5 + [False] * (len(SCENES) - 5)


def test_a_missing_and_a_damaged_mask_cost_themselves_alone(client: Client, tmp_path: Path) -> None:
    job = made_job(client, tmp_path / "images", out=own_place(client))
    keys = {Path(result.uri).name: result.mask_key for result in job.results()}
    job.store.delete(keys["small.png"])
    job.store.put(keys["crowded.jpg"], b"damaged")
    scores = job.score(truths.panoptic(tmp_path, SCENES), processes=1)
    assert {Path(each.uri).name for each in scores.problems} == {"small.png", "crowded.jpg"}
    assert (scores.images.not_scored, scores.all.pq) == (2, 1.0)


def test_rows_are_the_worst_first(job: Job, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    scores = job.score(truths.panoptic(tmp_path, shifted(SCENES)), rows=rows, worst=3)
    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(SCENES)
    figures = [2.0 if line["pq"] is None else line["pq"] for line in lines]
    assert figures == sorted(figures)
    assert [each.uri for each in scores.worst] == [line["uri"] for line in lines[:3]]
    worst = lines[0]
    assert worst["missed"]
    assert set(worst) == set(lines[-1])


def test_no_room_for_the_scores_own_file_is_said(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = truths.panoptic(tmp_path, SCENES)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert refused(job, truth).endswith("and cannot: No such file or directory; TMPDIR names another folder for it")


# Which image is which


def test_images_are_paired_by_the_end_of_their_paths(job: Job, tmp_path: Path) -> None:
    """Two `cat.jpg`s are told apart by their folders, whatever is in front of these."""
    names = {f"train/2017/{name}": scene for name, scene in SCENES.items()}
    assert job.score(truths.panoptic(tmp_path, names)).all.pq == 1.0
    bare = {Path(name).name: scene for name, scene in SCENES.items()}
    assert job.score(truths.panoptic(tmp_path / "bare", bare)).images.scored == len(SCENES)


def test_an_image_that_may_be_two_is_named_and_left_out(client: Client, tmp_path: Path) -> None:
    scenes = {f"{folder}/cat.jpg": SCENES["a/small.png"] for folder in "ab"} | {"c.jpg": SCENES["a/small.png"]}
    job = made_job(client, tmp_path / "images", scenes, out=own_place(client))
    one = job.score(truths.panoptic(tmp_path / "one", {"cat.jpg": SCENES["a/small.png"], "c.jpg": scenes["c.jpg"]}))
    assert (one.images.ambiguous, one.images.scored, one.images.missing) == (2, 1, 0)
    assert [uri.split("/")[-2] for uri in one.ambiguous] == ["a", "b"]

    several = {"x/c.jpg": scenes["c.jpg"], "y/c.jpg": scenes["c.jpg"], "a/cat.jpg": scenes["a/cat.jpg"]}
    two = job.score(truths.panoptic(tmp_path / "two", several))
    assert (two.images.ambiguous, two.images.scored, two.images.missing) == (1, 1, 0)
    assert two.images.without_truth == 2  # the one that failed, and the cat that fits less well

    with pytest.raises(UsageError, match=r"no image of the job is one of the truth for sure: .*c\.jpg"):
        job.score(truths.panoptic(tmp_path / "none", {"x/c.jpg": scenes["c.jpg"], "y/c.jpg": scenes["c.jpg"]}))


def test_class_ids_with_one_stem_for_two_images_are_ambiguous(client: Client, tmp_path: Path) -> None:
    scenes = dict.fromkeys(("a.jpg", "a.png", "b.jpg"), SCENES["a/small.png"])
    job = made_job(client, tmp_path / "images", scenes, out=own_place(client))
    scores = job.score(truths.class_ids(tmp_path / "truth", scenes, clash=True))
    assert (scores.images.scored, scores.images.ambiguous) == (1, 2)
    (tmp_path / "truth" / "a.png").rename(tmp_path / "truth" / "a.png.png")
    assert job.score(tmp_path / "truth").images.scored == 2


# What is no truth


def refused(job: Job, path: Path, **options: object) -> str:
    with pytest.raises(UsageError) as found:
        job.score(path, **options)
    return str(found.value)


def test_what_is_no_truth_is_refused_in_a_line(job: Job, tmp_path: Path) -> None:
    truth = truths.panoptic(tmp_path, SCENES)
    whole = json.loads(truth.read_text())

    def written(content: object) -> Path:
        path = tmp_path / "panoptic.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    assert "cannot be read: No such file" in refused(job, tmp_path / "nothing.json")
    assert "is not JSON" in refused(job, written("{no"))
    assert "\n" not in refused(job, written('{"images": []} {"images": []}'))
    assert "no dataset of COCO" in refused(job, written([{"image_id": 1, "score": 1}]))
    assert "no dataset of COCO" in refused(job, written({"images": whole["images"]}))
    assert "have neither segments_info" in refused(job, written({**whole, "annotations": [{"image_id": 1}]}))
    assert "categories[0].name: Field required" in refused(
        job, written({**whole, "categories": [{"id": 1, "isthing": 1}]})
    )
    twice = [*whole["categories"], whole["categories"][0]]
    assert "two categories are called 'PERSON'" in refused(job, written({**whole, "categories": twice}))
    strange = [{**each, "id": each["id"] + 500} for each in whole["categories"]]
    assert "no category has the id" in refused(job, written({**whole, "categories": strange}))
    assert "annotations are of images that it does not list" in refused(job, written({**whole, "images": []}))
    elsewhere = [{**each, "file_name": f"x{each['file_name']}"} for each in whole["annotations"]]
    assert "is neither in" in refused(job, written({**whole, "annotations": elsewhere}))
    other = [{**each, "name": f"{each['name']}x"} for each in whole["categories"]]
    assert "no class in common: the job has N/A, car, cat" in refused(job, written({**whole, "categories": other}))
    names = [{**each, "file_name": f"{n}.jpg"} for n, each in enumerate(whole["images"])]
    assert "no image in common" in refused(job, written({**whole, "images": names}))
    assert "--labels: the job has no label 'carr'; did you mean 'car'?" in refused(
        job, written(whole), selection=Selection(labels=("carr",))
    )
    assert "cannot be written" in refused(job, written(whole), rows=tmp_path / "no" / "rows.jsonl")


def test_what_is_no_folder_of_class_ids_is_refused_in_a_line(job: Job, tmp_path: Path) -> None:
    folder = truths.class_ids(tmp_path / "ids", SCENES)
    assert "panoptic.json?" in refused(job, truths.panoptic(tmp_path / "p", SCENES).parent)
    (folder / "classes.json").rename(tmp_path / "names.json")
    assert "--truth-classes FILE" in refused(job, folder)
    assert job.score(folder, truth_classes=tmp_path / "names.json").all.pq == 1.0
    (tmp_path / "names.json").write_text("{}")
    assert "names no classes" in refused(job, folder, truth_classes=tmp_path / "names.json")


def test_an_id_without_a_class_and_a_picture_of_colours_cost_themselves_alone(job: Job, tmp_path: Path) -> None:
    folder = truths.class_ids(tmp_path, SCENES)
    Image.fromarray(np.full((5, 7), 99, np.uint8)).save(folder / "a" / "small.png")
    Image.new("RGB", (40, 30)).save(folder / "a" / "whole.png")
    scores = job.score(folder)
    reasons = {Path(each.uri).name: each.reason for each in scores.problems}
    assert "have the number 99, which no segment and no class has" in reasons["small.png"]
    assert "holds colours (RGB)" in reasons["whole.jpg"]


def test_palettes_and_sixteen_bits_hold_class_ids_too(job: Job, tmp_path: Path) -> None:
    folder = truths.class_ids(tmp_path, SCENES)
    small = folder / "a" / "small.png"
    paletted = Image.open(small).copy()
    paletted.putpalette([0, 128, 255] * 256)
    paletted.save(small)
    whole = np.asarray(Image.open(folder / "a" / "whole.png"))
    Image.fromarray(whole.astype(np.uint16)).save(folder / "a" / "whole.png")
    assert Image.open(small).mode == "P"
    scores = job.score(folder)
    assert (scores.problems, scores.all.pq) == ((), 1.0)


def test_a_job_that_runs_has_no_score(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    job = client.submit(tmp_path / "a.png", model="demo")
    with pytest.raises(UsageError, match="has not ended"):
        job.score(truths.panoptic(tmp_path, SCENES))
    job.cancel()
