"""Overlays of a folder of results: one for each mask, of that mask and that image, or named with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from maskmill import Client, Job
from maskmill.colours import colour_of
from maskmill.masks.segment_map import MaskHeader, encode
from maskmill.schema import Subtask
from maskmill_producer.local import overlays
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.overlays import draw_overlays
from maskmill_producer.local.sheet import draw_sheet
from tests.integration.finished_jobs import SEGMENTS, SIZE, finish, finished_job

NAMES = ["a", "b", "c"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", SIZE, (90, 90, 90)).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def mirrored(client: Client, images: Path, out: Path, **options: float) -> Job:
    job = finished_job(client, NAMES, images=str(images), **options)  # type: ignore[arg-type]
    mirror(job, out, replace=True)
    return job


def drawn_in(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in (out / "overlays").rglob("*") if path.is_file())


def of(images: Path, *names: str) -> list[str]:
    return [f"overlays/file{images}/{name}.jpg.jpg" for name in names]


def test_each_mask_has_an_overlay_with_its_segments_and_a_second_time_nothing_is_drawn(
    client: Client, images: Path, out: Path
) -> None:
    job = mirrored(client, images, out)
    first, second = draw_overlays(job, out), draw_overlays(job, out)
    assert (first.drawn, first.there, first.not_drawn) == (3, 0, 0)
    assert (second.drawn, second.there, second.overlays) == (0, 3, 3)
    assert drawn_in(out) == of(images, *NAMES)
    with Image.open(out / of(images, "a")[0]) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[0] % SIZE[1] == pixels.shape[1] % SIZE[0] == 0, "a tiny image has larger pixels"
    colour = np.array(colour_of("thing"))
    assert np.abs(pixels[3, 10] - (0.65 * 90 + 0.35 * colour)).max() < 12, "its first row is the segment"
    assert np.abs(pixels[-3, 10] - 90).max() < 6, "the others are none"


def test_overlays_of_a_run_before_go_with_its_masks_and_what_a_user_drew_stays(
    client: Client, images: Path, out: Path
) -> None:
    draw_overlays(mirrored(client, images, out), out)
    mine = out / "overlays" / "mine.jpg"
    Image.new("RGB", (5, 5)).save(mine)
    (out / "overlays" / "notes.txt").write_text("mine")
    job = mirrored(client, images, out, threshold=0.3)
    assert drawn_in(out) == ["overlays/mine.jpg", "overlays/notes.txt"]
    assert draw_overlays(job, out).drawn == 3
    assert drawn_in(out) == [*of(images, *NAMES), "overlays/mine.jpg", "overlays/notes.txt"]


def test_the_same_masks_again_keep_their_overlays(client: Client, images: Path, out: Path) -> None:
    draw_overlays(mirrored(client, images, out), out)
    again = finished_job(client, NAMES, images=str(images), reused=NAMES)
    mirror(again, out, replace=True)
    assert draw_overlays(again, out).there == 3


def test_another_way_of_drawing_draws_anew(
    client: Client, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = mirrored(client, images, out)
    draw_overlays(job, out)
    monkeypatch.setattr(overlays, "STYLE", overlays.STYLE + 1)
    assert draw_overlays(job, out).drawn == 3


def test_an_image_that_is_gone_or_another_by_now_has_none_and_is_named(client: Client, images: Path, out: Path) -> None:
    job = mirrored(client, images, out)
    (images / "a.jpg").unlink()
    Image.new("RGB", (SIZE[1], SIZE[0])).save(images / "b.jpg")
    found = draw_overlays(job, out)
    assert (found.drawn, found.not_drawn) == (1, 2)
    assert [(each.uri, each.code) for each in found.problems] == [
        (str(images / "a.jpg"), "not_found"),
        (str(images / "b.jpg"), "image_changed"),
    ]
    assert drawn_in(out) == of(images, "c")


def test_an_image_of_the_same_size_that_was_changed_is_not_taken_for_the_one_that_was_segmented(
    client: Client, images: Path, out: Path
) -> None:
    job = mirrored(client, images, out)
    for result in job.results():
        status = Path(result.uri).stat()
        version = f"file:{status.st_mtime_ns:x}-{status.st_size:x}"
        header = MaskHeader(
            uri=result.uri, fingerprint=result.outcome.fingerprint or "", subtask=Subtask.PANOPTIC, segments=SEGMENTS,
            image_version=version,
        )  # fmt: skip
        (out / result.mask_key).write_bytes(encode(result.segment_map, header))
    os.utime(images / "b.jpg", (1, 1))
    found = draw_overlays(job, out)
    assert (found.drawn, [each.code for each in found.problems]) == (2, ["image_changed"])


def test_an_image_is_turned_upright_as_its_mask_is(client: Client, images: Path, out: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (SIZE[1], SIZE[0])).save(images / "a.jpg", exif=exif)
    assert draw_overlays(mirrored(client, images, out), out).drawn == 3


def test_an_image_that_no_memory_is_left_for_costs_itself_alone(
    client: Client, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overlay(*arguments: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(overlays, "overlay", overlay)
    found = draw_overlays(mirrored(client, images, out), out)
    assert [each.code for each in found.problems] == ["out_of_memory"] * 3


def test_an_image_that_was_in_memory_is_read_from_the_store(client: Client, out: Path) -> None:
    job = client.submit([np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)], model="demo")
    finish(client, job)
    mirror(job, out)
    found = draw_overlays(job, out)
    assert (found.drawn, found.problems) == (1, [])


def test_a_mask_that_is_not_in_the_folder_has_no_overlay_and_is_no_problem(
    client: Client, images: Path, out: Path
) -> None:
    job = mirrored(client, images, out)
    (out / next(iter(job.results())).mask_key).unlink()
    assert (found := draw_overlays(job, out)).overlays == 2
    assert found.not_drawn == 0


def test_a_link_in_place_of_an_overlay_is_replaced_and_not_followed(client: Client, images: Path, out: Path) -> None:
    job = mirrored(client, images, out)
    victim, place = out.parent / "victim", out / of(images, "a")[0]
    victim.write_text("mine")
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    assert draw_overlays(job, out).drawn == 3
    assert victim.read_text() == "mine"
    assert not place.is_symlink()


def test_overlays_of_a_folder_that_is_called_masks_are_below_it(client: Client, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    job = mirrored(client, images, out)
    assert draw_overlays(job, out).drawn == 3
    again = mirrored(client, images, out, threshold=0.3)
    assert drawn_in(out) == []
    assert draw_overlays(again, out).drawn == 3


def test_the_sheet_leaves_out_what_cannot_be_read_and_goes_when_there_is_nothing(
    client: Client, images: Path, out: Path
) -> None:
    job = mirrored(client, images, out)
    sheet = draw_sheet(job, out)
    assert sheet
    with Image.open(sheet) as picture:
        wide = picture.width
    (images / "a.jpg").unlink()
    draw_sheet(job, out)
    with Image.open(sheet) as picture:
        assert picture.width < wide, "two pairs in place of three"
    for name in NAMES[1:]:
        (images / f"{name}.jpg").unlink()
    assert draw_sheet(job, out) is None
    assert not sheet.exists()
