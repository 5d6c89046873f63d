"""A folder of results that is called `masks` is itself the `masks/` of the keys: no folder's name comes twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskmill import Client
from maskmill.images.folders import walk
from maskmill.masks.segment_map import decode
from maskmill_producer.local.folder import Folder, Unplaceable
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.recorded import Recorded
from tests.integration.finished_jobs import finished_job, key_of

NAMES = ("a", "b", "c")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "masks"


def keys_in(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out.parent)) for path in out.rglob("*.png"))


def test_masks_lie_in_the_folder_itself_where_their_keys_say(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out)
    listed = [json.loads(line)["mask_key"] for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert keys_in(out) == listed == [key_of(name) for name in NAMES]
    assert not (out / "masks").exists()


def test_other_results_of_the_same_sources_replace_them_and_nothing_else(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    (out / "mine.png").write_bytes(b"no mask")
    (out / "file" / "mine.txt").write_text("mine")
    job = finished_job(client, NAMES[1:], threshold=0.3)
    mirror(job, out, replace=True)
    assert keys_in(out) == [*map(key_of, NAMES[1:]), "masks/mine.png"]
    assert decode((out.parent / key_of("b")).read_bytes())[1].fingerprint == job.record().spec.fingerprint()
    assert (out / "file" / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.json", "failures.jsonl", "file", "job.json", "manifest.json", "metadata.jsonl", "mine.png",
    ]  # fmt: skip


def test_the_same_results_again_are_taken_over(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    assert mirror(finished_job(client, NAMES, reused=NAMES), out, replace=True).there == len(NAMES)


@pytest.mark.parametrize("key", ["masks/../evil.png", "../masks-of-others/evil.png", "beside/evil.png"])
def test_nothing_is_written_beside_the_folder(out: Path, key: str) -> None:
    with Folder.open(out) as folder, pytest.raises(Unplaceable):
        folder.path_of(key)


def test_the_places_of_many_folders_are_not_all_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill_producer.local.folder.FOLDERS_KEPT", 3)
    with Folder.open(out) as folder:
        for n in range(20):
            assert folder.path_of(f"masks/{n % 7}/a.png") == out.resolve() / str(n % 7) / "a.png"
            assert len(folder._made) <= 3


@pytest.mark.parametrize(("before", "after"), [("masks", "elsewhere"), ("results", "masks")])
def test_results_stay_whole_whatever_their_folder_is_called_later(
    before: str, after: str, client: Client, tmp_path: Path
) -> None:
    job, moved = finished_job(client, NAMES), tmp_path / after
    mirror(job, tmp_path / before)
    (tmp_path / before).rename(moved)
    layout = sorted(path.relative_to(moved).as_posix() for path in moved.rglob("*"))

    assert Recorded(moved).export("semantic", tmp_path / "out", processes=1).images == len(NAMES)
    assert [each for each in walk(str(moved), all_files=False) if isinstance(each, str)] == []
    assert mirror(job, moved).there == len(NAMES)
    assert sorted(path.relative_to(moved).as_posix() for path in moved.rglob("*")) == layout


def test_other_results_replace_those_of_a_folder_that_was_renamed(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    moved = out.rename(out.with_name("elsewhere"))
    assert mirror(finished_job(client, NAMES, reused=NAMES[1:]), moved, replace=True).there == len(NAMES)
    mirror(finished_job(client, NAMES[1:], threshold=0.3), moved, replace=True)
    assert [path.name for path in sorted(moved.rglob("*.png"))] == [Path(key_of(name)).name for name in NAMES[1:]]
