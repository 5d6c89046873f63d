"""Masks of a COCO file in all their forms, and class names in all theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO

from maskmill.errors import TruthUnusable, UsageError
from maskmill.scoring.classes import ClassTable
from maskmill.scoring.overlaps import Masks
from maskmill.scoring.pairs import Listed, Paired, by_address, by_path, by_stem, keys_of, pair, paired
from maskmill.scoring.scratch import scratch
from maskmill.scoring.sides import ScoredClass
from maskmill.scoring.truth.class_ids import read_classes
from maskmill.scoring.truth.instances import pixels
from maskmill.scoring.truth.opened import open_truth
from tests.exports.scenes import SCENES
from tests.scoring import truths
from tests.scoring.truths import rle

POLYGONS = [
    [[10.0, 10.0, 30.5, 12.25, 25.0, 33.0]],
    [[0.5, 0.5, 8, 0.5, 8, 8, 0.5, 8], [20, 20, 39, 20, 39, 29, 20, 29]],
]


def by_pycocotools(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    coco = COCO()
    coco.imgs = {1: {"height": height, "width": width}}
    found: NDArray[np.bool_] = coco.annToMask({"image_id": 1, "segmentation": segmentation}).astype(bool)
    return found


@pytest.mark.parametrize("segmentation", POLYGONS)
def test_polygons_are_filled_as_by_pycocotools(segmentation: Any) -> None:
    found = pixels(segmentation, 30, 40)
    assert found.any()
    assert np.array_equal(found, by_pycocotools(segmentation, 30, 40))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_both_forms_of_run_lengths_are_read_as_by_pycocotools(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    for as_text in (True, False):
        segmentation = rle(mask, as_text=as_text)
        assert np.array_equal(pixels(segmentation, height, width), mask)
        assert np.array_equal(by_pycocotools(segmentation, height, width), mask)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [4, 3], "counts": [12]},
        {"size": [3, 4], "counts": [5, 5]},
        {"size": [3, 4], "counts": [13, -1]},
        {"size": [3, 4], "counts": "zzz"},
        {"size": [3, 4], "counts": None},
        {"counts": [12]},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a", "b", "c", "d", "e", "f"]],
        None,
        7,
        "text",
    ],
)
def test_what_is_no_mask_costs_its_image(segmentation: Any, tmp_path: Path) -> None:
    with scratch() as file:
        truth = open_truth(_dataset(tmp_path, segmentation), file)
        found = truth.fetch(file.true_image(1))()
        assert isinstance(found, Masks)
        with pytest.raises(TruthUnusable, match="a mask of it cannot be read"):
            list(found.masks)


def _dataset(folder: Path, segmentation: Any) -> Path:
    path = folder / "instances.json"
    annotation = {"image_id": 1, "category_id": 7, "segmentation": segmentation}
    images = [{"id": 1, "file_name": "a\\cat.jpg", "height": 3, "width": 4}]
    dataset = {"images": images, "annotations": [annotation], "categories": [{"id": 7, "name": "cat"}]}
    path.write_text(json.dumps(dataset))
    return path


def test_polygons_without_the_extra_end_the_score_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(UsageError, match=r"pip install 'maskmill\[score\]'"):
        pixels(POLYGONS[0], 30, 40)


def test_a_dataset_without_annotations_has_empty_images(tmp_path: Path) -> None:
    path = _dataset(tmp_path, None)
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    with scratch() as file:
        found = open_truth(path, file).fetch(file.true_image(1))()
        assert isinstance(found, Masks)
        assert (list(found.masks), found.shape) == ([], (3, 4))
        assert file.true_image(1).path == "a/cat.jpg"


NOT_EXPECTED = [None, True, -1, 1.5, 10**30, "", "\x00", "a" * 5000, [], [[]], {}, {"a": 1}]


@pytest.mark.parametrize("kind", [truths.panoptic, truths.instances])
def test_whatever_stands_in_a_file_of_coco_is_told_as_such(kind: Any, tmp_path: Path) -> None:
    path: Path = kind(tmp_path, {"small.png": SCENES["a/small.png"]})
    whole = json.loads(path.read_text())
    told = 0
    for spot in places(whole):
        for value in NOT_EXPECTED:
            path.write_text(json.dumps(replaced(whole, spot, value)))
            try:
                with scratch() as file:
                    truth = open_truth(path, file)
                    for (key,) in file.execute("SELECT key FROM truth").fetchall():
                        found = truth.fetch(file.true_image(key))()
                        _ = list(found.masks) if isinstance(found, Masks) else None
            except TruthUnusable:
                told += 1
    assert told > 100


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The ways to all that is in a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, each in inside:
        yield (key,)
        yield from ((key, *rest) for rest in places(each))


def replaced(value: Any, spot: tuple[Any, ...], by: Any) -> Any:
    if not spot:
        return by
    copied = value.copy()
    copied[spot[0]] = replaced(value[spot[0]], spot[1:], by)
    return copied


@pytest.mark.parametrize(
    "content",
    [
        {"0": "road", "7": "sky"},
        {"id2label": {"0": "road", "7": "sky"}, "colours": {}},
        [{"id": 0, "name": "road"}, {"id": 7, "name": "sky"}],
        {"categories": [{"id": 0, "name": "road"}, {"id": 7, "name": "sky"}]},
    ],
)
def test_names_of_class_ids_in_all_their_forms(content: Any, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(content))
    assert read_classes(tmp_path / "classes.json") == {0: "road", 7: "sky"}


@pytest.mark.parametrize("text", ["", "{", "7", "null", "[1]", '{"a": "road"}', '{"0": 7}', '[{"name": "road"}]', "[]"])
def test_what_names_no_classes_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(TruthUnusable, match="names no classes"):
        read_classes(tmp_path / "classes.json")


@pytest.mark.parametrize("truth", ["s3://bucket/truth.json", "https://host/annotations/truth.json"])
def test_an_address_is_no_path(truth: str) -> None:
    with (
        scratch() as file,
        pytest.raises(TruthUnusable, match=r"this machine's disk: fetch truth\.json first, and name its path"),
    ):
        open_truth(Path(truth), file)


# Names of classes and images


def test_labels_are_classes_by_name_whatever_the_case_unless_two_differ_in_it_alone() -> None:
    table = ClassTable([ScoredClass(name, thing=True) for name in ("Cat", "dog", "DOG")])
    assert [table.number(label) for label in ("cat", "CAT", "dog", "DOG", "Dog", "cow")] == [0, 0, 1, 2, None, None]
    assert table.without_label(["cat", "DOG"]) == ["dog"]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/photos/a/cat.jpg", "/photos/a/cat.jpg"),
        ("https://host/a/b%20c.jpg", "a/b c.jpg"),
        ("s3://bucket/a/100%25.jpg", "a/100%25.jpg"),
        ("zip://a/cat.jpg::/data/photos.zip", "a/cat.jpg"),
        ("cat.jpg", "cat.jpg"),
    ],
)
def test_an_image_is_looked_for_by_the_path_in_its_address(uri: str, path: str) -> None:
    found = by_path(Listed(0, uri, None))
    assert [tuple(each) for each in found] == [(path.rsplit("/", 1)[-1], path)]


def test_class_ids_are_looked_for_by_the_stem_too() -> None:
    assert [tuple(each) for each in by_stem(Listed(0, "/a.b/cat.d.jpg", None))] == [
        ("cat.d.jpg", "/a.b/cat.d.jpg"),
        ("cat.d", "/a.b/cat.d"),
        ("cat.d_jpg", "/a.b/cat.d_jpg"),
    ]
    assert len(by_stem(Listed(0, "/a.b/cat", None))) == len(by_stem(Listed(0, "/a.b/.cat", None))) == 1


def test_an_image_that_was_submitted_twice_counts_once() -> None:
    images = [Listed(0, "/a/cat.jpg", "masks/a/cat.jpg.png"), Listed(1, "/a/cat.jpg", "masks/a/cat.jpg.png")]
    with scratch() as file:
        file.insert("INSERT INTO truth (id, path, last) VALUES (?, ?, ?)", [("1", "cat.jpg", "cat.jpg")])
        pair(file, images, by_path)
        assert paired(file) == Paired(both=1, only_in_job=0, only_in_truth=0, ambiguous=0)
        assert keys_of(file, 0, 2) == {0: 1}


def test_images_of_another_job_are_the_same_by_address_and_then_by_their_masks_key() -> None:
    assert by_address(Listed(3, "https://host/i.jpg", "masks/https/host/i~7.png")) == [
        ("https://host/i.jpg", "masks/https/host/i~7.png")
    ]
