"""What a job is as a dataset: categories, things and stuff, fused stuff, selection, names and stems."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from maskmill.dataset.classes import Classes
from maskmill.dataset.fuse import fused, hull
from maskmill.dataset.images import plain_stem
from maskmill.dataset.in_processes import Pool
from maskmill.dataset.selection import NewName, Selection, of_options, read_label_map
from maskmill.dataset.survey import ROW, _places, _stems, row_of
from maskmill.dataset.things import KNOWN, things_among
from maskmill.errors import UsageError
from maskmill.machine import ARENAS
from maskmill.schema import Segment, Subtask


def segment(
    number: int, label: str | float | None, score: float | None = 0.9, area: int = 4, **more: object
) -> Segment:
    fields = {"id": number, "label": label, "label_id": number, "score": score, "area": area, "box": (0, 0, 2, 2)}
    return Segment(**(fields | more))


def test_the_lists_are_as_long_as_their_datasets() -> None:
    numbers = {name: Counter(table.values()) for name, table in KNOWN.items()}
    assert numbers["COCO panoptic"] == {True: 80, False: 53}
    assert numbers["Cityscapes"] == {True: 8, False: 11}
    # Of ADE20k, 100 and 50, with the other names that models on the hub have for some.
    assert numbers["ADE20k"][True] >= 100
    assert numbers["ADE20k"][False] >= 50


@pytest.mark.parametrize(
    ("names", "subtask", "things", "told_by"),
    [
        (["cat", "sky-other-merged", "LABEL_184", "N/A"], None, {"cat"}, "COCO panoptic"),
        (["wall", "bed ", "road, route", "flag"], None, {"bed ", "flag"}, "ADE20k"),
        (["rider", "vegetation"], None, {"rider"}, "Cityscapes"),
        (["disc", "sky", "ring"], None, {"disc", "ring"}, "the demo model"),
        (["hut", "pond"], Subtask.INSTANCE, {"hut", "pond"}, "instance"),
        (["hut", "pond"], Subtask.SEMANTIC, set(), "semantic"),
        (["hut", "cat"], None, {"hut", "cat"}, "panoptic classes are things"),
    ],
)
def test_a_dataset_that_knows_all_names_tells_things_else_the_subtask(
    names: list[str], subtask: Subtask | None, things: set[str], told_by: str
) -> None:
    found = things_among(names, subtask)
    assert {name for name, is_thing in found.by_name.items() if is_thing} == things
    assert told_by in found.told_by


@pytest.mark.parametrize(
    ("labels", "chosen", "thing"),
    [
        (["traffic light", "car", "sky-other-merged"], "traffic light", True),  # Cityscapes has it as stuff
        (["curtain", "wall", "flag"], "curtain", True),  # COCO panoptic has it as stuff
        (["wall", "vegetation"], "wall", False),
    ],
)
def test_what_is_chosen_of_a_model_is_what_it_is_in_the_whole_model(
    labels: list[str], chosen: str, thing: bool
) -> None:
    for selection in (Selection(), Selection(labels=(chosen,))):
        assert Classes.of(dict(enumerate(labels)), selection, None).by_name[chosen].thing is thing


def test_names_that_no_dataset_knows_may_be_left_out() -> None:
    found = Classes.of({0: "traffic light", 1: "hut", 2: "rider"}, Selection(renamed={"hut": NewName(name=None)}), None)
    assert (found.told_by, found.by_name["traffic light"].thing) == ("the classes of Cityscapes", False)


def test_categories_merge_equal_names_and_count_from_one() -> None:
    labels = {0: "car", 3: "truck", 4: "cat", 9: "cat", 12: "N/A"}
    renamed = {"car": NewName(name="vehicle"), "truck": NewName(name="vehicle"), "N/A": NewName(name=None)}
    found = Classes.of(labels, Selection(renamed=renamed), None)
    assert [(each.id, each.index, each.name) for each in found.categories] == [(1, 0, "vehicle"), (2, 1, "cat")]
    own = Classes.of(labels, Selection(renamed=renamed, category_ids="label", stuff=("cat",)), None)
    assert [(each.id, each.thing) for each in own.categories] == [(0, True), (4, False)]
    assert own.told_by.startswith("your words, and")


def test_stuff_of_one_category_is_one_segment_and_things_are_not() -> None:
    ids = np.array([[1, 2, 0], [3, 4, 4]], np.uint8)
    parts = [
        segment(1, "sky", 0.5, 1, box=(0, 0, 1, 1)),
        segment(2, "sky", 0.8, 1, box=(1, 0, 1, 1)),
        segment(3, "cat", area=1),
        segment(4, "cat", area=2),
    ]
    categories = Classes.of({0: "sky", 1: "cat"}, Selection(things=("cat",), stuff=("sky",)), None).by_name
    found, segments = fused(ids, parts, categories)
    assert found.tolist() == [[1, 1, 0], [3, 4, 4]]
    assert [(each.id, each.area, each.score) for each in segments] == [(1, 2, 0.8), (3, 1, 0.9), (4, 2, 0.9)]
    assert segments[0].box == (0, 0, 2, 1)
    assert ids[0, 1] == 2  # the map that came is as it was


def test_a_hull_of_an_empty_box_is_the_other() -> None:
    assert hull((0, 0, 0, 0), (4, 1, 1, 5)) == hull((4, 1, 1, 5), (0, 0, 0, 0)) == (4, 1, 1, 5)


def test_labels_that_are_no_texts_are_called_by_their_titles() -> None:
    kept, left_out = Selection(labels=("17", "label 2")).chosen([segment(1, 17), segment(2, None), segment(3, "cat")])
    assert [each.label for each in kept] == ["17", "label 2"]
    assert left_out == {"label": 1}


def test_what_has_no_score_has_no_place_where_scores_are_asked_for() -> None:
    kept, left_out = Selection(min_score=0.5).chosen([segment(1, "a", None), segment(2, "b", 0.5)])
    assert ([each.id for each in kept], left_out) == ([2], {"score": 1})
    with pytest.raises(UsageError, match="no scores"):
        Selection(min_score=0.5).check(["a"], Subtask.SEMANTIC)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", '{"car": "vehicle", "sky": {"name": "air", "thing": false}, "N/A": null}'),
        ("map.csv", "label,name,thing\ncar,vehicle,\nsky,air,no\nN/A,,\n"),
    ],
)
def test_label_maps_of_both_forms_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_label_map(tmp_path / name) == {
        "car": NewName(name="vehicle"),
        "sky": NewName(name="air", thing=False),
        "N/A": NewName(name=None),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", "[1]"),
        ("m.json", "{"),
        ("m.json", '{"a": 3}'),
        ("m.csv", "a,b\n1,2\n"),
        ("m.csv", "label,name,thing\na,b,maybe"),
    ],
)
def test_a_file_that_is_no_label_map_is_told_with_what_one_is(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=r"--map-labels .*neither JSON such as"):
        read_label_map(tmp_path / name)


def test_words_that_are_no_kind_of_ids_are_named() -> None:
    with pytest.raises(UsageError, match="there are contiguous and label, not 'coco'"):
        of_options(category_ids="coco")


def test_stems_are_unique_whatever_the_names() -> None:
    names = {0: "a/cat.jpg", 1: "a/dog.jpg", 2: "a/cat.png", 3: "a/cat_png.gif", 4: "b/cat.jpg", 5: "a/dog"}
    rows = np.frombuffer(b"".join(row_of(n if n < 2 else n - 2, 1, name) for n, name in names.items()), ROW)
    repeated = np.zeros(6, bool)
    extended, hashed = _stems(rows, repeated)
    places = list(_places([(2, 2), (4, 4)], rows, repeated, extended, hashed))
    stems = [place.stems.get(number, plain_stem)(names[number]) for place in places for number in names
             if place.first_image <= number < place.first_image + (2, 4)[place.shard]]  # fmt: skip
    assert stems[:2] == ["a/cat_jpg", "a/dog_jpg"]
    assert stems[2].startswith("a/cat_png-")
    assert stems[3:] == ["a/cat_png", "b/cat", "a/dog"] or len(set(stems)) == 6
    assert len(set(stems)) == len(stems)
    assert [place.first_segment for place in places] == [0, 2]


def double(worker: list[int], item: int) -> tuple[int, int]:
    worker.append(item)
    return os.getpid(), 2 * item


def test_work_in_processes_comes_in_order_each_with_a_worker_of_its_own() -> None:
    with Pool(list, 2) as pool:
        found = list(pool.map(double, range(50)))
    assert [answer for _, answer in found] == list(range(0, 100, 2))
    assert os.getpid() not in {pid for pid, _ in found}


def variable(_: list[int], name: str) -> str | None:
    return os.environ.get(name)


@pytest.mark.parametrize(("chosen", "found"), [(None, "2"), ("7", "7")])
def test_processes_keep_their_memory_together_unless_somebody_has_chosen_otherwise(
    chosen: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a process of an export grew from 108 to 127 MB in 20,000 images, and so on."""
    monkeypatch.delenv(ARENAS, raising=False)
    if chosen:
        monkeypatch.setenv(ARENAS, chosen)
    with Pool(list, 2) as pool:
        assert list(pool.map(variable, [ARENAS])) == [found]


def page_faults(_: list[int], rounds: int) -> int:
    """Of arrays of a mask's sizes, some at a time."""
    before = 0
    for number in range(2 * rounds):
        if number == rounds:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        _ = [np.ones(size, np.uint8) for size in (307_200, 921_600, 1_228_800, 2_457_600) * 4]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_processes_keep_what_a_mask_leaves_for_the_next_one() -> None:
    """Else malloc gives it back, and each new array costs a page fault for every 4 KiB: up to 700 a pair of a score."""
    with Pool(list, 2) as pool:
        [faults] = pool.map(page_faults, [20])
    assert faults < 20


def fail(_: list[int], item: int) -> None:
    raise UsageError(f"item {item}")


def test_what_work_raises_is_raised_here() -> None:
    with pytest.raises(UsageError, match="item 0"), Pool(list, 2) as pool:
        list(pool.map(fail, range(5)))


SCRIPT = """
import sys, time
from maskmill.dataset.in_processes import Pool
def slow(worker, item):
    import os, time
    os.write(1, f'{os.getpid()}\\n'.encode())
    time.sleep(600)
with Pool(list, 2) as pool:
    list(pool.map(slow, range(2)))
"""


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_a_script_without_a_guard_has_processes_and_none_outlives_it(tmp_path: Path, way: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, preexec_fn=hear)
    assert child.stdout
    children = [psutil.Process(int(child.stdout.readline())) for _ in range(2)]
    child.send_signal(way)
    child.wait(30)
    _, alive = psutil.wait_procs(children, 20)
    assert not alive


def test_ctrl_c_while_processes_start_is_heard_here_alone(tmp_path: Path) -> None:
    """A terminal signals them all; what they print while they import is no message of ours."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear
    )
    assert child.stdout
    while not select.select([child.stdout], [], [], 0.001)[0]:  # until a process of the pool is at work
        assert child.poll() is None
        for each in psutil.Process(child.pid).children():
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1].count("Traceback") == 1


def hear() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_json_maps_of_labels_are_read_whatever_their_letters(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"ÄÖ\u2028": "x"}, ensure_ascii=False), encoding="utf-8")
    assert read_label_map(tmp_path / "m.json") == {"ÄÖ\u2028": NewName(name="x")}


def test_a_segment_that_others_cover_wholly_is_left_out_and_counted() -> None:
    found, left_out = Selection().chosen([segment(1, "cat", area=0), segment(2, "cat")])
    assert ([each.id for each in found], left_out) == ([2], Counter(no_pixels=1))
