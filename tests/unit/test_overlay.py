"""Overlays show every segment: outlined, filled thinly, named beside where a label would hide it, ringed if tiny."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskmill.colours import colour_of
from maskmill.masks.segment_map import areas_and_boxes
from maskmill.schema import Segment
from maskmill_producer.report.labels import Box, Labels, Named
from maskmill_producer.report.lettering import Lettering
from maskmill_producer.report.overlay import LEAST, MOST, overlay

GREY = (128, 128, 128)


def segments_of(ids: NDArray[np.integer], names: tuple[str, ...] = ("cat", "dog")) -> list[Segment]:
    measured = areas_and_boxes(ids, int(ids.max()))
    return [
        Segment(id=n, label=names[n % len(names)], label_id=n, score=0.9, area=area, box=box)
        for n, (area, box) in enumerate(measured, 1)
    ]


def drawn(ids: NDArray[np.integer], **names: tuple[str, ...]) -> NDArray[np.uint8]:
    image = Image.new("RGB", (ids.shape[1], ids.shape[0]), GREY)
    return np.asarray(overlay(image, ids, segments_of(ids, **names)))


def has(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (pixels == np.array(colour)).all(axis=-1)
    return found


@pytest.mark.parametrize(
    ("size", "shown"),
    [((1, 1), (LEAST, LEAST)), ((8, 8), (LEAST, LEAST)), ((100, 50), (400, 200)), ((640, 480), (640, 480)),
     ((4000, 3), (4000, 3)), ((3, 4000), (3, 4000)), ((8192, 64), (MOST, 32))],
)  # fmt: skip
def test_a_picture_is_of_a_size_to_look_at(size: tuple[int, int], shown: tuple[int, int]) -> None:
    ids = np.ones((size[1], size[0]), np.uint8)
    assert drawn(ids).shape == (shown[1], shown[0], 3)


def test_a_fill_is_thin_an_outline_has_the_full_colour_and_what_is_no_segment_stays() -> None:
    ids = np.zeros((480, 640), np.uint8)
    ids[100:300, 100:300] = 1
    pixels = drawn(ids)
    colour = np.array(colour_of("dog"))
    assert tuple(pixels[400, 600]) == GREY
    assert np.abs(pixels[120, 120] - (0.65 * 128 + 0.35 * colour)).max() <= 2
    assert has(pixels[98:104, 150:250], colour_of("dog")).sum() >= 100
    assert np.abs(pixels[98:104, 150:250].astype(int) - 16).max(axis=2).min() < 8, "a dark line beside it"


@pytest.mark.parametrize("place", [(0, 0), (479, 639), (200, 300)])
def test_a_single_pixel_is_ringed_and_its_label_lies_beside(place: tuple[int, int]) -> None:
    ids = np.ones((480, 640), np.uint8)
    ids[place] = 2
    pixels = drawn(ids, names=("cat", "dog"))
    row, column = place
    own = has(pixels, colour_of("cat"))
    assert own[place], "itself is not hidden"
    sides = [own[row, max(0, column - 12) : max(0, column - 3)], own[row, column + 4 : column + 13],
             own[max(0, row - 12) : max(0, row - 3), column], own[row + 4 : row + 13, column]]  # fmt: skip
    assert all(side.any() for side in sides if side.size), "its ring"
    assert own.sum() > 300, "its label"


def test_a_line_of_one_pixel_keeps_its_colour() -> None:
    ids = np.ones((480, 640), np.uint8)
    ids[200] = 2
    assert has(drawn(ids), colour_of("cat"))[200].mean() > 0.9


def named(ids: NDArray[np.integer]) -> list[Named]:
    return [
        Named(each.id, (each.box[0], each.box[1], each.box[0] + each.box[2], each.box[1] + each.box[3]), each.area,
              Lettering.of("traffic light 0.98", 12), (0, 0, 0))
        for each in segments_of(ids)
    ]  # fmt: skip


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_labels_of_a_hundred_segments_cover_neither_each_other_nor_small_ones() -> None:
    ids = np.zeros((960, 1280), np.uint8)
    for n in range(100):
        size = 12 if n % 3 else 80
        ids[n // 10 * 96 + 6 :, :][:size, n % 10 * 128 + 8 :][:, :size] = n + 1
    segments = named(ids)
    labels = list(Labels(ids).place(segments))
    assert len(labels) == 100
    assert not [pair for pair in combinations(labels, 2) if overlap(pair[0].box, pair[1].box)]
    small = [each for each in segments if each.area == 144]
    hidden = [each.id for each in small if any(overlap(each.box, label.box) for label in labels)]
    assert hidden == []


def test_a_large_segment_has_its_label_inside_and_a_small_one_a_line_to_it() -> None:
    ids = np.zeros((480, 640), np.uint8)
    ids[50:400, 50:400] = 1
    ids[420:428, 500:508] = 2
    large, small = Labels(ids).place(named(ids))
    assert large.target is None
    assert (ids[int(large.box[1]) : int(large.box[3]), int(large.box[0]) : int(large.box[2])] == 1).all()
    assert small.target
    assert ids[int(small.target[1]), int(small.target[0])] == 2


def test_a_ring_has_its_label_on_itself_and_not_in_its_hole() -> None:
    rows, columns = np.mgrid[:480, :640]
    far = (rows - 240) ** 2 + (columns - 320) ** 2
    ids = ((far < 220**2) & (far > 100**2)).astype(np.uint8)
    [label] = Labels(ids).place(named(ids))
    assert (ids[int(label.box[1]) : int(label.box[3]), int(label.box[0]) : int(label.box[2])] == 1).all()


def test_where_there_is_no_room_there_is_no_label() -> None:
    ids = np.ones((10, 40), np.uint8)
    assert list(Labels(ids).place(named(ids))) == []


@pytest.mark.parametrize("label", ["[bold]cat[/bold]", "a\nb\x1b[31m", "\u202etac", "x" * 5000, "", "\x00", "猫"])
def test_any_label_is_only_text(label: str) -> None:
    ids = np.ones((100, 200), np.uint8)
    assert drawn(ids, names=(label,)).shape == (200, 400, 3)


def test_as_many_segments_as_a_mask_holds_are_drawn() -> None:
    ids = (np.arange(65_535, dtype=np.uint16) + 1).reshape(255, 257)
    assert drawn(ids).shape == (510, 514, 3)


@pytest.mark.parametrize("box", [(10**400, -5, 10**400, 3), (-9, -9, 2, 2), (0, 0, 0, 0)])
def test_an_account_that_is_not_of_its_map_costs_no_memory_and_no_picture(box: tuple[int, int, int, int]) -> None:
    odd = [Segment(id=i, label="odd", label_id=0, area=5, box=box) for i in (1, 2, 10**15)]
    assert overlay(Image.new("RGB", (640, 480)), np.ones((480, 640), np.uint8), odd).size == (640, 480)
