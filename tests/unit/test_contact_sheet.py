"""The contact sheet shows images beside their segments and failures with why, and says how many of how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.colours import colour_of
from maskmill.errors import UsageError
from maskmill.schema import Counts, JobState, JobStatus, Segment
from maskmill_producer.local.sheet import shown_of
from maskmill_producer.report.contact_sheet import CELL, RED, Failed, Panel, contact_sheet, write_contact_sheet


def panel(name: str, size: tuple[int, int], labels: tuple[str, ...]) -> Panel:
    """Upright stripes, one a label, over mid-grey."""
    width, height = size
    ids = np.repeat(np.linspace(1, len(labels) + 0.999, width).astype(np.uint8)[None], height, axis=0)
    segments = [
        Segment(id=n, label=label, label_id=n, score=0.95, area=int((ids == n).sum()), box=(0, 0, width, height))
        for n, label in enumerate(labels, 1)
    ]
    return Panel.of(name, Image.new("RGB", size, (128, 128, 128)), ids, segments)


def pixels_of(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == np.array(colour)).all(axis=2).sum())


def test_a_label_has_one_colour_on_all_panels() -> None:
    panels = [panel("a", (300, 200), ("cat", "grass")), panel("b", (200, 300), ("grass", "sky"))]
    assert all(pixels_of(each.coloured, colour_of("grass")) > 50 for each in panels)


@pytest.mark.parametrize("size", [(4000, 3), (3, 4000), (8, 8), (640, 480)])
def test_pictures_of_any_shape_fit_their_cell(size: tuple[int, int]) -> None:
    one = panel("a", size, ("cat",))
    assert one.coloured.size == one.picture.size
    assert one.picture.width <= CELL[0]
    assert one.picture.height <= CELL[1]
    assert one.size == size


@pytest.mark.parametrize("number", [1, 2, 3, 4, 24])
def test_a_sheet_holds_any_number_of_panels(number: int) -> None:
    panels = [panel(f"picture-{n}.jpg", (120, 90), ("cat", "sky")) for n in range(number)]
    sheet = contact_sheet(panels, ["job"])
    rows = -(-number // 3)
    assert sheet.height > rows * panels[0].height
    assert pixels_of(sheet, colour_of("cat")) > number * 50, "labels stand on their colour"


def test_failures_are_shown_with_their_code_and_reason() -> None:
    good = panel("a.jpg", (260, 200), ("cat",))
    without, with_one = (contact_sheet([good, *more], ["job"]) for more in ([], [Failed("b.jpg", "not_found", "gone")]))
    assert pixels_of(without, RED) == 0
    assert pixels_of(with_one, RED) > 20


def test_names_have_their_folders() -> None:
    caption = panel("photos/2026/11/" + "x" * 80 + "/cat.jpg", (640, 480), ("cat",)).caption
    assert caption.startswith("photos/2026/11/")
    assert caption.endswith("/cat.jpg · 640 x 480 · 1 segment")
    assert Failed("photos/2026/cat.jpg", "not_found", "").caption == "photos/2026/cat.jpg"


@pytest.mark.parametrize("text", ["a\nb\x1b[31m", "[bold]x[/bold]", "猫.jpg", "x" * 5000, ""])
def test_names_codes_and_reasons_are_only_text(text: str) -> None:
    assert contact_sheet([panel(text, (50, 50), (text,)), Failed(text, text, text)], [text]).width > 2 * CELL[0]


def test_the_title_says_how_many_of_how_many() -> None:
    counts = Counts(stored=170, reused=10, failed=3)
    status = JobStatus(job="20261122-205301-9f86d081", out="out", state=JobState.COMPLETED_WITH_FAILURES,
                       submitted=183, counts=counts, shards=2, shards_done=2)  # fmt: skip
    assert shown_of(status, 24, 2) == "24 of 180 images with masks · 2 of 3 failures"
    assert shown_of(status.model_copy(update={"counts": Counts(stored=1)}), 1, 0) == "1 of 1 image with a mask"


def test_no_panel_is_no_file_and_the_last_one_is_gone(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert write_contact_sheet(sheet, [panel("a", (50, 50), ("cat",))], ["job"])
    assert not write_contact_sheet(sheet, [], ["job"])
    assert not sheet.exists()


def test_a_sheet_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_contact_sheet(tmp_path / "none" / "sheet.png", [Failed("a", "b", "c")], ["job"])
