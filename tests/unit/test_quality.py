"""Panoptic quality, IoU and AP are those of the reference implementations: on a case by hand, and on random ones."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pytest
from hotcoco import panoptic, semantic
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.scoring.confusion import NO_CLASS, Confusion, mean_iou
from maskmill.scoring.overlaps import Masks, Part, Side, overlaps, overlaps_of_masks
from maskmill.scoring.precision import Detections
from maskmill.scoring.quality import Counted, Tally, matches

CLASSES = 4
THINGS = (0, 1)
Ids = NDArray[np.int64]


@dataclass
class Case:
    """One image: true and predicted ids (0 = none), and their segments; classes count from 0."""

    true: Ids
    predicted: Ids
    true_parts: dict[int, Part]
    predicted_parts: dict[int, Part]

    @property
    def truth(self) -> Side:
        return Side.of(self.true, self.true_parts, {0})

    @property
    def prediction(self) -> Side:
        return Side.of(self.predicted.astype(np.uint8), self.predicted_parts)


def by_hand() -> Case:
    """A cat, a crowd of cats and sky; predicted with a wrong dog in void, and one in what nobody labelled."""
    true = np.zeros((20, 20), np.int64)
    true[:10, :10], true[:10, 10:], true[10:, :10] = 1, 2, 3
    predicted = np.zeros((20, 20), np.int64)
    predicted[:10, :8], predicted[:10, 12:18], predicted[10:, :15] = 1, 2, 3
    predicted[10:, 15:], predicted[:10, 8:10] = 4, 5
    true_parts = {1: Part(0), 2: Part(0, crowd=True), 3: Part(2)}
    return Case(true, predicted, true_parts, {1: Part(0), 2: Part(0), 3: Part(2), 4: Part(1), 5: Part(1)})


def random_case(seed: int) -> Case:
    """Blocks, and the same moved and with holes; most predicted segments have the true class."""
    chance = np.random.default_rng(seed)
    true = np.kron(chance.integers(0, 6, (4, 4)), np.ones((6, 6), np.int64))
    predicted = np.roll(true, tuple(chance.integers(0, 4, 2)), (0, 1))
    predicted[chance.random(predicted.shape) < 0.05] = 7
    true_parts: dict[int, Part] = {}
    for each in np.unique(true[true > 0]).tolist():
        category = int(chance.integers(CLASSES))
        first_crowd = not any(part == (category, True) for part in true_parts.values())
        true_parts[each] = Part(category, crowd=bool(first_crowd and chance.random() < 0.2))
    predicted_parts = {
        each: Part(
            true_parts[each].category if each in true_parts and chance.random() < 0.8 else int(chance.integers(CLASSES))
        )
        for each in np.unique(predicted[predicted > 0]).tolist()
    }
    return Case(true, predicted, true_parts, predicted_parts)


def tally_of(*cases: Case) -> Tally:
    tally = Tally()
    for case in cases:
        truth, prediction = case.truth, case.prediction
        tally.add(matches(overlaps(truth, prediction), truth.parts, prediction.parts))
    return tally


def by_hotcoco(*cases: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return _by_hotcoco(Path(folder), cases)


def _by_hotcoco(folder: Path, cases: tuple[Case, ...]) -> dict[str, Any]:
    categories = [{"id": each, "name": str(each), "isthing": int(each in THINGS)} for each in range(CLASSES)]
    images = [
        {"id": n, "file_name": f"{n}.jpg", "width": case.true.shape[1], "height": case.true.shape[0]}
        for n, case in enumerate(cases)
    ]
    for side, maps in (("true", [c.true for c in cases]), ("predicted", [c.predicted for c in cases])):
        (folder / side).mkdir()
        parts = [getattr(case, f"{side}_parts") for case in cases]
        annotations = []
        for n, (ids, of_image) in enumerate(zip(maps, parts, strict=True)):
            colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
            Image.fromarray(colours).save(folder / side / f"{n}.png")
            infos = [
                {
                    "id": each,
                    "category_id": part.category,
                    "iscrowd": int(part.crowd),
                    "area": int((ids == each).sum()),
                    "bbox": [0, 0, 1, 1],
                }
                for each, part in of_image.items()
            ]
            annotations.append({"image_id": n, "file_name": f"{n}.png", "segments_info": infos})
        whole = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{side}.json").write_text(json.dumps(whole))
    found = panoptic.PanopticEval(folder / "true.json", folder / "predicted.json")
    found.evaluate()
    results: dict[str, Any] = found.results()
    return results


def test_the_case_by_hand() -> None:
    tally = tally_of(by_hand())
    assert [tally[each].quality.pq for each in range(CLASSES)] == [0.8, 0.0, 1.0, None]
    assert tally.quality(range(CLASSES)).pq == pytest.approx(0.6)
    assert tally.quality(THINGS).pq == pytest.approx(0.4)
    assert tally.quality((2, 3)).pq == 1.0
    assert tally.quality(range(CLASSES)).classes == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_panoptic_quality_is_hotcocos(seed: int) -> None:
    cases = [random_case(seed), random_case(seed + 1), by_hand()]
    tally, theirs = tally_of(*cases), by_hotcoco(*cases)
    for category in range(CLASSES):
        expected, counted = theirs["per_class"][category], tally[category]
        assert astuple(counted) == pytest.approx(tuple(expected[name] for name in ("iou", "tp", "fp", "fn")))
        quality = counted.quality
        if quality.classes:
            assert (quality.pq, quality.sq, quality.rq) == pytest.approx(tuple(expected[n] for n in ("pq", "sq", "rq")))
    for name, chosen in (("All", range(CLASSES)), ("Things", THINGS), ("Stuff", (2, 3))):
        ours = tally.quality(chosen)
        assert ours.classes == theirs[name]["n"]
        if ours.classes:
            assert (ours.pq, ours.sq, ours.rq) == pytest.approx(tuple(theirs[name][n] for n in ("pq", "sq", "rq")))


def test_all_crowds_of_a_class_excuse_what_lies_in_them() -> None:
    true = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    parts = {1: Part(0, crowd=True), 2: Part(0, crowd=True)}
    tally = tally_of(Case(true, np.ones((4, 4), np.int64), parts, {1: Part(0)}))
    assert tally[0] == Counted()


def test_more_segments_than_a_table_holds_are_counted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tally_of(*map(random_case, range(20)))
    monkeypatch.setattr("maskmill.scoring.overlaps.DENSE_CELLS", 1)
    again = tally_of(*map(random_case, range(20)))
    assert [again[each] for each in range(CLASSES)] == [found[each] for each in range(CLASSES)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
@given(data=st.data())
def test_pixels_are_those_of_each_id_whatever_its_low_bits(dtype: type[np.integer[Any]], data: st.DataObject) -> None:
    """Ids are looked up by their low 16 bits: others that have the same ones are other ids, known or not."""
    ids = st.sampled_from([1, 7, 255, 2**16 + 1, 2**16 + 7, 2**17 + 1, 2**24 - 1])
    fitting = ids.filter(lambda each: each <= np.iinfo(dtype).max)
    map_ = np.array(data.draw(st.lists(fitting, min_size=1, max_size=30)), dtype).reshape(1, -1)
    known = data.draw(st.lists(ids, unique=True))
    found = overlaps(Side.of(np.zeros_like(map_), {}), Side.of(map_, {each: Part(0) for each in known}))
    assert found.predicted_areas.tolist() == [int((map_ == each).sum()) for each in known]


def test_an_empty_image_and_ids_of_no_segment_count_for_nothing() -> None:
    truth, prediction = Side.of(np.full((3, 3), 9), {}, {9}), Side.of(np.full((3, 3), 5, np.uint8), {})
    found = matches(overlaps(truth, prediction), (), ())
    assert (found.matched, found.missed, found.false) == ((), (), ())


# Masks that may overlap


def masks_of(case: Case) -> Masks:
    parts = case.true_parts
    return Masks(case.true.shape, [case.true == each for each in parts], tuple(parts.values()))


@given(st.integers(0, 2**32 - 1))
def test_masks_that_do_not_overlap_are_a_map_without_void(seed: int) -> None:
    case = random_case(seed)
    truth, prediction = Side.of(case.true, case.true_parts), case.prediction
    found, painted = overlaps_of_masks(masks_of(case), prediction)
    of_map = overlaps(truth, prediction)
    assert matches(found, truth.parts, prediction.parts) == matches(of_map, truth.parts, prediction.parts)
    again = overlaps(painted, prediction)
    assert [again.true.tolist(), again.pixels.tolist()] == [of_map.true.tolist(), of_map.pixels.tolist()]


def test_where_masks_overlap_each_is_matched_by_its_own_pixels_and_the_smaller_is_on_top() -> None:
    large, small = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    large[:, :8], small[:2, :4] = True, True
    truth = Masks((10, 10), [small, large], (Part(1), Part(0)))
    prediction = Side.of(large.astype(np.uint8), {1: Part(0)})
    found, painted = overlaps_of_masks(truth, prediction)
    assert matches(found, truth.parts, prediction.parts).matched == ((0, 1.0),)
    assert np.array_equal(painted.ids, np.where(small, 1, np.where(large, 2, 0)))


def test_of_two_equal_true_masks_one_is_matched() -> None:
    mask = np.ones((4, 4), bool)
    found, _ = overlaps_of_masks(Masks((4, 4), [mask, mask], (Part(0), Part(0))), Side.of(mask * 1, {1: Part(0)}))
    result = matches(found, (Part(0), Part(0)), (Part(0),))
    assert (result.matched, result.missed, result.false) == (((0, 1.0),), (0,), ())


def test_of_two_true_masks_that_match_the_better_one_does() -> None:
    wide, narrow = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    wide[:], narrow[:, :8] = True, True
    truth = Masks((10, 10), [wide, narrow], (Part(0), Part(0)))
    found, _ = overlaps_of_masks(truth, Side.of(narrow.astype(np.uint8), {1: Part(0)}))
    result = matches(found, truth.parts, (Part(0),))
    assert (result.matched, result.missed, result.false) == (((0, 1.0),), (0,), ())


# IoU


def test_iou_by_hand() -> None:
    true = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [255, 255, 2, 2]])
    predicted = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [2, 2, 2, 0], [0, 0, 2, 2]])
    confusion = confusion_of(true, predicted)
    assert confusion.ious() == pytest.approx({0: 3 / 5, 1: 4 / 5, 2: 5 / 6})
    assert confusion.accuracy({0, 1, 2}) == pytest.approx(12 / 14)
    assert confusion.accuracy({1}) == 1.0
    assert list(confusion.mistaken()) == [(0, 1, 1), (2, 0, 1)]


def confusion_of(true: Ids, predicted: Ids, classes: int = 3) -> Confusion:
    truth = Side.of(true, {each: Part(each) for each in range(classes)}, {255})
    prediction = Side.of(predicted, {each: Part(each) for each in range(classes)})
    confusion = Confusion()
    confusion.add(overlaps(truth, prediction), truth.parts, prediction.parts, void=True)
    return confusion


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_iou_is_hotcocos(seed: int, classes: int) -> None:
    chance = np.random.default_rng(seed)
    theirs, ours = semantic.SemanticEval(classes + 1, ignore_index=255), Confusion()
    for _ in range(2):
        true, predicted = chance.integers(0, classes, (9, 7)), chance.integers(0, classes + 1, (9, 7))
        true[chance.random(true.shape) < 0.2] = 255
        theirs.update(true, predicted)  # whose last class is what nothing was predicted for
        ours += confusion_of(true, predicted, classes)
    expected = np.array(theirs.confusion())
    for (true_class, predicted_class), pixels in ours.pixels.items():
        assert expected[true_class][classes if predicted_class == NO_CLASS else predicted_class] == pixels
    ious = [*ours.ious().values()]
    union = expected.sum(0) + expected.sum(1) - np.diag(expected)
    assert ious == pytest.approx([np.diag(expected)[n] / union[n] for n in range(classes) if union[n]])
    assert mean_iou(ours.ious(), range(classes)) == pytest.approx(sum(ious) / len(ious))


def test_pixels_outside_all_masks_are_of_no_class_and_count() -> None:
    confusion, mask = Confusion(), np.zeros((4, 4), bool)
    mask[:, :2] = True
    prediction = Side.of(np.ones((4, 4), np.uint8), {1: Part(0)})
    _, painted = overlaps_of_masks(Masks((4, 4), [mask], (Part(0),)), prediction)
    confusion.add(overlaps(painted, prediction), painted.parts, prediction.parts, void=False)
    assert confusion.ious() == {0: 0.5}


# AP


def annotations(cases: list[Case], scores: list[list[float]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    true, found = [], []
    for image, (case, given_scores) in enumerate(zip(cases, scores, strict=True)):
        for each, part in case.true_parts.items():
            true.append(annotation(image, case.true == each, part) | {"id": len(true) + 1})
        for (each, part), score in zip(case.predicted_parts.items(), given_scores, strict=True):
            found.append(annotation(image, case.predicted == each, part) | {"score": score})
    images = [{"id": n, "file_name": "", "width": 1, "height": 1} for n in range(len(cases))]
    categories = [{"id": n, "name": str(n)} for n in range(CLASSES)]
    return {"info": {}, "images": images, "annotations": true, "categories": categories}, found


def annotation(image: int, mask: NDArray[np.bool_], part: Part) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = {"size": rle["size"], "counts": rle["counts"].decode()}
    facts = {"image_id": image, "category_id": part.category, "iscrowd": int(part.crowd), "segmentation": counts}
    return facts | {"area": float(mask.sum()), "bbox": [0, 0, 1, 1]}


def by_reference(truth: dict[str, Any], found: list[dict[str, Any]], *, of_hotcoco: bool) -> list[float]:
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        paths = Path(folder) / "true.json", Path(folder) / "found.json"
        for path, content in zip(paths, (truth, found), strict=True):
            path.write_text(json.dumps(content))
        kind, evaluation = (hotcoco.COCO, hotcoco.COCOeval) if of_hotcoco else (COCO, COCOeval)
        true = kind(str(paths[0]))
        run = evaluation(true, true.loadRes(str(paths[1])), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
        return [float(value) for value in run.stats[:3]]


def precision_of(cases: list[Case], scores: list[list[float]], limit: int = 100) -> Detections:
    detections = Detections(limit)
    for case, given_scores in zip(cases, scores, strict=True):
        one, truth, prediction = Detections(limit), case.truth, case.prediction
        one.add(overlaps(truth, prediction), truth.parts, prediction.parts, given_scores, set(range(CLASSES)))
        detections += one
    return detections


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ap_is_that_of_pycocotools_and_hotcoco(seed: int) -> None:
    cases = [random_case(seed + n) for n in range(4)]
    chance = np.random.default_rng(seed)
    scores = [(chance.integers(0, 20, len(case.predicted_parts)) / 20).tolist() for case in cases]
    if not any(case.predicted_parts for case in cases):
        return
    ours = precision_of(cases, scores).mean_precision(range(CLASSES))
    found = [-1.0 if each is None else each for each in (ours.ap, ours.ap50, ours.ap75)]
    truth, results = annotations(cases, scores)
    assert found == pytest.approx(by_reference(truth, results, of_hotcoco=False))
    assert found == pytest.approx(by_reference(truth, results, of_hotcoco=True))


def test_an_iou_of_exactly_four_fifths_has_an_ap_of_seven_tenths() -> None:
    true, predicted = np.zeros((200, 200), np.int64), np.zeros((200, 200), np.int64)
    true[10:110, 10:110], predicted[10:110, 10:90] = 1, 1
    ours = precision_of([Case(true, predicted, {1: Part(0)}, {1: Part(0)})], [[0.9]])
    assert ours.precision(0).ap == pytest.approx(0.7)
    assert ours.precision(0).ap75 == pytest.approx(1.0)
    assert ours.precision(1).ap is None


def test_segments_beyond_cocos_hundred_are_counted() -> None:
    ids = np.arange(1, 401).reshape(20, 20).astype(np.int64)
    parts = {each: Part(0) for each in range(1, 401)}
    case = Case(ids, ids, parts, parts)
    case_side = Side.of(ids, parts)
    limited, free = Detections(), Detections(limit=400)
    for detections in (limited, free):
        detections.add(overlaps(case.truth, case_side), case_side.parts, case_side.parts, [0.5] * 400, {0})
    assert (limited.beyond, free.beyond) == (300, 0)
    assert limited.precision(0).ap == pytest.approx(0.257, abs=1e-3)
    assert free.precision(0).ap == pytest.approx(1.0)
