"""`results --download`, `delete`, `prune` and `status` as a person uses them, on jobs that ended without a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill import Client, Settings
from maskmill.storage import keys
from tests.integration.finished_jobs import finished_job, key_of, mask_png, submitted_job

MASKMILL = str(Path(sys.executable).parent / "maskmill")
NAMES = [f"{n:02d}" for n in range(5)]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def maskmill(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [MASKMILL, *map(str, arguments)]
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_a_download_says_how_many_masks_were_there(client: Client, maskmill: Run, tmp_path: Path) -> None:
    job = finished_job(client, NAMES)
    first = maskmill("results", job.id, "--download", "out [/x]")
    (tmp_path / "out [/x]" / key_of("02")).unlink()
    second = maskmill("results", job.id, "--download", "out [/x]")
    third = maskmill("results", job.id, "--download", "out [/x]", "--json")

    assert (first.returncode, first.stdout) == (0, "5 masks in out [/x]\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "5 masks in out [/x] (4 were there already)\n")
    assert json.loads(third.stdout) == {
        "job": job.id,
        "state": "completed",
        "folder": "out [/x]",
        "masks": 5,
        "copied": 0,
        "already_there": 5,
        "removed": 0,
        "not_copied": 0,
        "problems": [],
        "overlays": None,
        "not_drawn": None,
        "overlay_problems": [],
    }


def test_overlays_that_cannot_be_drawn_are_named_and_the_exit_code_says_so(client: Client, maskmill: Run) -> None:
    job = finished_job(client, NAMES)
    alone = maskmill("results", job.id, "--overlays")
    drawn = maskmill("results", job.id, "--download", "out", "--overlays")
    as_json = json.loads(maskmill("results", job.id, "--download", "out", "--overlays", "--json").stdout)
    assert (alone.returncode, "--download DIR" in alone.stderr) == (2, True)
    assert drawn.returncode == 4
    assert "/photos/00.jpg: no such file" in drawn.stderr
    assert "0 overlays in out/overlays" in drawn.stdout
    assert (as_json["overlays"], as_json["not_drawn"]) == (0, 5)
    assert as_json["overlay_problems"][0]["code"] == "not_found"


def test_a_folder_of_results_is_read_without_servers(client: Client, maskmill: Run, tmp_path: Path) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:1])
    said = maskmill("results", job.id, "--download", "out [/x]")
    job.delete(masks=True)
    listed, status = maskmill("failures", "out [/x]"), maskmill("status", "out [/x]", "--json")
    revealed, nothing = maskmill("failures", "out [/x]", "--reveal"), maskmill("status", "nope")
    assert "maskmill failures 'out [/x]'" in said.stdout
    assert listed.stdout == "/photos/00.jpg\tnot_found\t00 is gone\n"
    assert (status.returncode, json.loads(status.stdout)["failures"]) == (4, {"not_found": 1})
    assert (revealed.returncode, nothing.returncode) == (2, 2)
    assert "neither a job's id nor a folder" in nothing.stderr


def test_a_download_never_mixes_two_jobs(client: Client, maskmill: Run, tmp_path: Path) -> None:
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES[:2], threshold=0.3)

    mixed = maskmill("results", first.id, "--download", "first")
    as_json = maskmill("results", first.id, "--download", "first", "--json")
    refused = maskmill("results", second.id, "--download", "first")

    assert mixed.returncode == as_json.returncode == 4
    assert "/photos/00.jpg" in mixed.stderr
    assert "2 masks not copied" in mixed.stderr
    assert "3 masks in first" in mixed.stdout
    assert [problem["code"] for problem in json.loads(as_json.stdout)["problems"]] == ["mask_replaced"] * 2
    assert refused.returncode == 2
    assert first.id in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_hostile_account_is_one_line_and_writes_nothing(client: Client, maskmill: Run, tmp_path: Path) -> None:
    job = submitted_job(client, NAMES)
    key = "masks/../../../evil.png"
    line = {"uri": "/x.jpg", "status": "stored", "mask_key": key, "segments": [], "fingerprint": "f"}
    job.store.put(keys.metadata(job.id, 0), json.dumps(line).encode())
    job.store.put("masks/x.png", mask_png("/x.jpg", "f", job.id))

    result = maskmill("results", job.id, "--download", "in/a/folder")

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "mask_key" in result.stderr
    assert not list(tmp_path.rglob("*.png"))


def test_results_of_a_job_that_runs_are_not_taken_for_all(client: Client, maskmill: Run) -> None:
    job = submitted_job(client, NAMES)
    for options in ((), ("--download", "out")):
        assert "the job still runs: 0 of 5 images have ended so far" in maskmill("results", job.id, *options).stderr
    assert "no worker has loaded the model yet" in maskmill("status", job.id).stdout
    maskmill("cancel", job.id)
    assert maskmill("results", job.id).stderr == ""
    assert "no worker has loaded" not in maskmill("status", job.id).stdout


def test_status_reads_the_ledger_alone(client: Client, maskmill: Run, settings: Settings) -> None:
    job = finished_job(client, NAMES, failed=NAMES[:1])
    client.services.store(settings.out).delete_all(item.key for item in job.store.list())

    one, every = maskmill("status", job.id, "--json"), maskmill("status", "--json")

    assert json.loads(one.stdout)["failures"] == {"not_found": 1}
    assert [each["job"] for each in json.loads(every.stdout)] == [job.id]
    assert job.id in maskmill("status").stdout


def test_jobs_are_deleted_and_pruned(client: Client, maskmill: Run, settings: Settings) -> None:
    first, second = finished_job(client, NAMES), finished_job(client, NAMES[3:], reused=NAMES[3:])
    running = submitted_job(client, ["x"])

    refused = maskmill("delete", running.id)
    deleted = maskmill("delete", first.id, "--masks", "--json")
    again = maskmill("delete", first.id)
    told = maskmill("prune", "--older-than", "0m", "--masks", "--dry-run")
    pruned = maskmill("prune", "--older-than", "0m", "--masks")
    odd = maskmill("prune", "--older-than", "soon")

    assert (refused.returncode, "maskmill cancel" in refused.stderr) == (2, True)
    assert (json.loads(deleted.stdout)["masks"], json.loads(deleted.stdout)["masks_kept"]) == (3, 2)
    assert again.returncode == 2
    assert second.id in told.stdout
    assert "would delete 1 job and the remains of 0 others" in told.stdout
    assert pruned.stdout.splitlines()[-1] == told.stdout.splitlines()[-1].replace("would delete", "deleted")
    assert {key.split("/")[1] for key in (item.key for item in first.store.list())} == {running.id}
    assert (odd.returncode, "30d" in odd.stderr) == (2, True)


def test_a_folder_with_brackets_can_be_submitted(maskmill: Run, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "[/x]").mkdir(parents=True)
    (tmp_path / "[/x]" / "a.jpg").write_bytes(b"")
    submitted = maskmill("submit", "[/x]", "--out", f"{settings.out}/[/x]")
    assert submitted.returncode == 0, submitted.stderr
    assert f"{settings.out}/[/x]" in submitted.stderr
    assert f"{settings.out}/[/x]" in maskmill("status").stdout.replace("\n", "").replace(" ", "")
