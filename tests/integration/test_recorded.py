"""What a folder of results says of its job, read without any server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from maskmill import Client, Job
from maskmill.colours import colour_of, in_hex
from maskmill.errors import JobNotFound, NewerRecord, UsageError
from maskmill.jobs.records import put_classes
from maskmill.schema import ModelClasses, outcome_in
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.recorded import Recorded
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


@pytest.mark.parametrize("name", ["job.json", "manifest.json", "failures.jsonl"])
def test_a_file_that_cannot_be_read_is_said_in_one_line(client: Client, out: Path, name: str) -> None:
    mirror(finished_job(client, NAMES), out)
    (out / name).unlink()
    (out / name).mkdir()  # to root, which tests may run as, no file is forbidden
    with pytest.raises(UsageError, match=f"{name} cannot be read: Is a directory"):
        list(Recorded(out).failures()) if name == "failures.jsonl" else Recorded(out).status()


# Folders of earlier versions


def as_it_was(job: Job, out: Path) -> None:
    """Write both lists as versions without columns of their own did: outcomes, without what is unset."""
    for name, outcomes in (("metadata", (each.outcome for each in job.results())), ("failures", job.failures())):
        (out / f"{name}.jsonl").write_bytes(b"".join(outcome.to_json() + b"\n" for outcome in outcomes))


def test_a_folder_of_an_earlier_version_says_the_same(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:2])
    mirror(job, out)
    now = [*Recorded(out).failures()]
    as_it_was(job, out)
    assert [*Recorded(out).failures(["not_found"])] == now == [*job.failures()]
    assert Recorded(out).status().counts == job.status().counts


def test_a_second_download_brings_it_up_to_date_and_fetches_no_mask(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:2])
    mirror(job, out)
    now = {name: (out / name).read_bytes() for name in ("metadata.jsonl", "failures.jsonl")}
    as_it_was(job, out)
    assert mirror(job, out).there == len(NAMES) - 2
    assert {name: (out / name).read_bytes() for name in now} == now


def test_a_run_replaces_the_masks_that_its_account_names(client: Client, out: Path) -> None:
    before = finished_job(client, NAMES)
    mirror(before, out, replace=True)
    as_it_was(before, out)
    found = mirror(finished_job(client, NAMES[2:], threshold=0.3), out, replace=True)
    assert (found.copied, found.not_copied, found.removed) == (3, 0, 2)


def test_failures_of_a_later_version_ask_for_it(client: Client, out: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:2])
    mirror(job, out)
    rows = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    (out / "failures.jsonl").write_text("".join(json.dumps(row | {"more": 1}) + "\n" for row in rows))
    assert len([*Recorded(out).failures()]) == 2, "a column more is passed over"
    first = json.loads((out / "metadata.jsonl").read_text().splitlines()[0])
    assert outcome_in(json.dumps(first | {"more": 1}, separators=(",", ":")).encode()) == next(job.results()).outcome
    (out / "failures.jsonl").write_text("".join(json.dumps(row | {"schema_version": 2}) + "\n" for row in rows))
    with pytest.raises(NewerRecord, match="needs a newer Maskmill"):
        [*Recorded(out).failures()]


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
