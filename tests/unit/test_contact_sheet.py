"""The contact sheet shows every image beside its segments, in one colour a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.schema import Segment
from maskmill_producer.report.contact_sheet import (
    CELL,
    PALETTE,
    Panel,
    colours_of,
    contact_sheet,
    overlay,
    write_contact_sheet,
)


def panel(name: str, size: tuple[int, int], labels: tuple[str, ...]) -> Panel:
    """Upright stripes, one a label, over mid-grey."""
    width, height = size
    ids = np.repeat(np.linspace(1, len(labels) + 0.999, width).astype(np.uint8)[None], height, axis=0)
    segments = [
        Segment(id=n, label=label, label_id=n, score=0.95, area=int((ids == n).sum()), box=(0, 0, width, height))
        for n, label in enumerate(labels, 1)
    ]
    return Panel.of(name, Image.new("RGB", size, (128, 128, 128)), ids, segments)


def test_a_label_has_one_colour_on_all_panels() -> None:
    panels = [panel("a", (300, 200), ("cat", "grass")), panel("b", (200, 300), ("grass", "sky"))]

    colours = colours_of(panels)

    assert set(colours) == {"cat", "grass", "sky"}
    assert len(set(colours.values())) == 3
    left, right = (np.asarray(overlay(each, colours)) for each in panels)
    assert tuple(left[5, -5]) == tuple(right[5, 5]), "grass is right on one and left on the other"


@pytest.mark.parametrize("size", [(4000, 3), (3, 4000), (8, 8), (640, 480)])
def test_pictures_of_any_shape_fit_their_cell(size: tuple[int, int]) -> None:
    one = panel("a", size, ("cat",))

    shown = overlay(one, colours_of([one]))

    assert shown.size == one.picture.size
    assert shown.width <= CELL[0]
    assert shown.height <= CELL[1]
    assert one.size == size


@pytest.mark.parametrize("number", [1, 2, 3, 4, 24])
def test_a_sheet_holds_any_number_of_panels(number: int) -> None:
    panels = [panel(f"picture-{n}.jpg", (120, 90), ("cat", "sky")) for n in range(number)]

    sheet = np.asarray(contact_sheet(panels, "job"))

    rows = -(-number // 3)
    assert sheet.shape[0] > rows * CELL[1]
    assert any((sheet == np.array(colour)).all(axis=2).any() for colour in PALETTE), "labels stand on their colour"


def test_more_labels_than_colours_and_no_segment_at_all_are_drawn() -> None:
    many = panel("many", (260, 100), tuple(f"label {n}" for n in range(40)))
    nothing = Panel.of("nothing", Image.new("RGB", (50, 50)), np.zeros((50, 50), np.uint8), ())

    assert contact_sheet([many, nothing], "job").size[0] > 2 * CELL[0]


def test_no_panel_is_no_file(tmp_path: Path) -> None:
    assert not write_contact_sheet(tmp_path / "sheet.png", [], "job")
    assert not (tmp_path / "sheet.png").exists()
