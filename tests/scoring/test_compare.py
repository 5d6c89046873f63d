"""What changed between two jobs over the same images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import numpy as np
import pytest

from maskmill import Client, Job
from maskmill.dataset.selection import Selection
from maskmill.errors import UsageError
from tests.exports.scenes import SCENES, Scene, made_job


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared").resolve()


@pytest.fixture(scope="module")
def before(client: Client, root: Path) -> Job:
    return made_job(client, root, out=f"{client.settings.out}/{token_hex(4)}")


CHANGED = {
    # A cat less, another one's score, and the ids in another order.
    "a/crowded.jpg": Scene(
        np.where(SCENES["a/crowded.jpg"].ids == 2, 0, SCENES["a/crowded.jpg"].ids),
        {each: of for each, of in SCENES["a/crowded.jpg"].of.items() if each != 2} | {1: (0, 0.5)},
    ),
    # A car that is a person now.
    "a/small.png": replace(SCENES["a/small.png"], of={1: (0, 0.9), 2: (0, 0.8)}),
    # The same segments by other ids.
    "b/turned.jpg": Scene(
        np.array([0, 2, 1], np.uint8)[SCENES["b/turned.jpg"].ids], {1: (3, 0.8), 2: (2, 0.9)}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def after(client: Client, root: Path, before: Job) -> Job:
    """The same images with other masks, elsewhere."""
    return made_job(client, root, {**SCENES, **CHANGED}, out=f"{client.settings.out}/{token_hex(4)}")


def test_a_job_does_not_differ_from_itself(before: Job) -> None:
    found = before.compare(before)
    assert (found.images.compared, found.images.differ, found.most_changed) == (len(SCENES), 0, ())
    assert found.all.pq == found.mean_iou == found.same_pixels == 1.0
    assert found.images.without_mask == 1
    assert all((each.segments_a, each.pixels_a) == (each.segments_b, each.pixels_b) for each in found.classes)


def test_what_changed_is_named_and_counted(before: Job, after: Job, tmp_path: Path) -> None:
    rows = tmp_path / "changed.jsonl"
    found = before.compare(after, rows=rows)
    assert (found.images.compared, found.images.differ) == (len(SCENES), 2)
    changes = {Path(each.uri).name: each for each in found.most_changed}
    assert set(changes) == {"crowded.jpg", "small.png"}
    assert (changes["crowded.jpg"].only_in_a, changes["crowded.jpg"].only_in_b) == ({"cat": 1}, {})
    assert (changes["small.png"].only_in_a, changes["small.png"].only_in_b) == ({"car": 1}, {"person": 1})
    assert changes["small.png"].same_pixels == pytest.approx(1 - 12 / 35)
    by_name = {each.name: each for each in found.classes}
    cats = int((SCENES["a/crowded.jpg"].ids == 2).sum())
    assert by_name["cat"].segments_a - by_name["cat"].segments_b == 1
    assert by_name["cat"].pixels_a - by_name["cat"].pixels_b == cats
    assert by_name["person"].segments_b - by_name["person"].segments_a == 1
    assert by_name["sky-other-merged"].pq == 1.0
    assert found.things_told_by == "the classes of COCO panoptic"
    assert [json.loads(line)["uri"] for line in rows.read_text().splitlines()] == [
        each.uri for each in found.most_changed
    ]


def test_with_a_higher_threshold_for_both_less_differs(before: Job, after: Job) -> None:
    found = before.compare(after, selection=Selection(labels=("cat",), min_score=0.96))
    assert found.images.differ == 0  # the cat that is gone had 0.95
    assert [(each.name, each.pq) for each in found.classes] == [("cat", 1.0)]


def test_images_in_one_job_alone_are_named(client: Client, root: Path, before: Job, tmp_path: Path) -> None:
    scenes = {"a/small.png": SCENES["a/small.png"], "new.png": SCENES["a/small.png"]}
    part = tmp_path / "part"
    shutil.copytree(root, part)
    job = made_job(client, root, scenes, out=f"{client.settings.out}/{token_hex(4)}")
    assert job.status().counts.failed > 1  # the scenes that are left out
    found = before.compare(job)
    assert (found.images.compared, found.images.only_in_a, found.images.only_in_b) == (1, 0, 1)
    assert found.only_in_b[0].endswith("new.png")
    (root / "new.png").unlink()

    other = made_job(client, part.resolve(), {"a/small.png": SCENES["a/small.png"]}, out=f"{job.out}-other")
    with pytest.raises(UsageError, match=r"no image in common: the one has /.*, the other /"):
        before.compare(other)
