"""What a folder of results says of its job, read without any server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from maskmill import Client
from maskmill.errors import JobNotFound, UsageError
from maskmill.jobs.account import put_classes
from maskmill.schema import ModelClasses
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.recorded import Recorded
from maskmill_producer.report.colours import colour_of, in_hex
from tests.integration.finished_jobs import finished_job, submitted_job

NAMES = [f"{n:02d}" for n in range(5)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_folder_says_what_the_job_says(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:2])
    mirror(job, out)
    status, folder = job.status(), Recorded(out)
    job.delete(masks=True)
    assert folder.status() == status.model_copy(update={"out": str(out)})
    assert [outcome.uri for outcome in folder.failures()] == ["/photos/00.jpg", "/photos/01.jpg"]
    assert [*folder.failures(["timeout"])] == []
    assert len([*folder.failures(["not_found", "timeout"])]) == 2


def test_classes_and_their_colours_are_listed_as_a_model_lists_them(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out)
    assert json.loads((out / "classes.json").read_text()) == {
        "id2label": {"3": "thing"},
        "colours": {"thing": in_hex(colour_of("thing"))},
    }


def test_classes_that_the_model_knows_and_no_image_has_are_listed_too(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES)
    put_classes(job.store, job.id, ModelClasses(id2label={3: "thing", 10: "sky", 9: "кот"}))
    put_classes(job.store, job.id, ModelClasses(id2label={1: "of another worker"}))
    mirror(job, out)
    listed = json.loads((out / "classes.json").read_text())
    assert [*listed["id2label"].items()] == [("3", "thing"), ("9", "кот"), ("10", "sky")]
    assert set(listed["colours"]) == {"thing", "кот", "sky"}


def test_a_job_s_id_is_no_folder_unless_it_is_written_as_one(
    client: Client, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_job(client, NAMES)
    mirror(job, out)
    monkeypatch.chdir(out.parent)
    out.rename(job.id)
    assert Recorded.named(job.id) is None
    folder = Recorded.named(f"./{job.id}")
    assert folder
    assert folder.status().job == job.id


@pytest.mark.parametrize("name", ["nope", "no/such/folder", "x" * 5000, "a\x00b", ""])
def test_what_is_neither_is_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobNotFound, match="neither a job's id nor a folder"):
        Recorded.named(name)


def test_a_folder_without_results_or_with_half_of_them_is_said(client: Client, out: Path) -> None:
    out.mkdir()
    for ask in (Recorded(out).status, lambda: list(Recorded(out).failures())):
        with pytest.raises(UsageError, match="has no results of Maskmill"):
            ask()
    job = submitted_job(client, NAMES)
    mirror(job, out)
    with pytest.raises(UsageError, match=f"not complete.*maskmill status {job.id}"):
        Recorded(out).status()


def test_somebody_else_s_manifest_is_not_read(out: Path) -> None:
    out.mkdir()
    (out / "manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(UsageError, match="not one of Maskmill's files"):
        Recorded(out).status()


# What is no longer part


def test_masks_that_are_no_longer_part_are_removed_and_counted(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    found = mirror(finished_job(client, NAMES[2:], reused=NAMES[2:]), out, replace=True)
    assert (found.there, found.removed) == (3, 2)
    assert len(list((out / "masks").rglob("*.png"))) == 3
    other = mirror(finished_job(client, NAMES[2:], threshold=0.3), out, replace=True)
    assert (other.copied, other.removed) == (3, 0), "replaced, not removed"


def test_a_copy_of_a_mask_that_a_user_has_put_there_stays(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    (out / "masks" / "best").mkdir()
    mine = shutil.copy(next((out / "masks").rglob("00.jpg.png")), out / "masks" / "best" / "00.png")
    found = mirror(finished_job(client, NAMES[2:], threshold=0.3), out, replace=True)
    assert found.removed == 2
    assert Path(mine).exists()


def test_masks_in_a_folder_of_nobody_are_not_ours_to_remove(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    for name in ("job.json", "manifest.json", "metadata.jsonl"):
        (out / name).unlink()
    found = mirror(finished_job(client, NAMES[2:], threshold=0.3), out, replace=True)
    assert found.removed == 0
    assert found.not_copied == 3, "named, not replaced"
    assert len(list((out / "masks").rglob("*.png"))) == 5


def test_an_account_that_names_other_files_moves_none(client: Client, out: Path) -> None:
    mirror(finished_job(client, NAMES), out, replace=True)
    victim = out.parent / "victim.png"
    shutil.copy(next((out / "masks").rglob("00.jpg.png")), victim)
    line = json.loads((out / "metadata.jsonl").read_text().splitlines()[0])
    lines = [json.dumps(line | {"mask_key": "masks/../../victim.png"}), "not json", json.dumps([1])]
    with (out / "metadata.jsonl").open("a") as file:
        file.write("\n".join(lines))
    mirror(finished_job(client, NAMES[2:], threshold=0.3), out, replace=True)
    assert victim.exists()
