"""What a user may rely on while a job runs and after it: reuse, cancel, retry, budget, priority."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from maskmill import Client, Job, Settings
from maskmill.schema import Counts, JobState, Status
from tests.acceptance.images import write_good
from tests.conftest import StartWorker

WAIT_SECONDS = 600
IMAGES = 600  # more than a fast machine does until `maskmill cancel` has started
MASKMILL = str(Path(sys.executable).parent / "maskmill")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": 8})


def maskmill(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MASKMILL, *arguments], env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS)


def wait_for_stored(job: Job, images: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while job.status().counts.stored < images:
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.05)


@pytest.mark.attended
def test_a_job_that_is_run_again_makes_only_what_has_changed_or_was_spoiled(client: Client, tmp_path: Path) -> None:
    images = write_good(tmp_path / "some", 20)
    client.submit(str(tmp_path / "some"), model="demo").wait(WAIT_SECONDS)
    Image.new("RGB", (64, 48), "green").save(images[3])
    images[4].unlink()

    again = client.submit(str(tmp_path / "some"), model="demo")
    assert again.wait(WAIT_SECONDS).counts == Counts(stored=1, reused=18)
    [made] = [outcome for outcome in again.outcomes() if outcome.status is Status.STORED]
    assert made.uri == str(images[3])
    assert {result.segment_map.shape for result in again.results() if result.uri == made.uri} == {(48, 64)}

    other_spec = client.submit(str(tmp_path / "some"), model="demo", threshold=0.8)
    assert other_spec.wait(WAIT_SECONDS).counts == Counts(stored=19)
    overwritten = client.submit(str(tmp_path / "some"), model="demo", threshold=0.8, overwrite=True)
    assert overwritten.wait(WAIT_SECONDS).counts == Counts(stored=19)

    keys = [result.mask_key for result in overwritten.results()]
    store, whole = overwritten.store, overwritten.store.get(keys[0])
    for key, data in zip(keys, (whole[:-40], b"", b"not a mask", store.get(keys[4])), strict=False):
        store.put(key, data)
    repaired = client.submit(str(tmp_path / "some"), model="demo", threshold=0.8)
    assert repaired.wait(WAIT_SECONDS).counts == Counts(stored=4, reused=15)
    assert len([result.segment_map for result in repaired.results()]) == 19


@pytest.mark.attended
def test_a_cancelled_job_stops_and_its_account_balances(
    client: Client, environment: dict[str, str], tmp_path: Path
) -> None:
    write_good(tmp_path / "some", IMAGES)
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_for_stored(job, 1)

    said = maskmill("cancel", job.id, environment=environment)
    assert said.returncode == 0, said.stderr
    manifest = job.wait(WAIT_SECONDS)

    outcomes = list(job.outcomes())
    assert manifest.state is JobState.CANCELLED
    assert Counter(outcome.status for outcome in outcomes) == {
        Status.STORED: manifest.counts.stored,
        Status.CANCELLED: manifest.counts.cancelled,
    }
    assert manifest.counts.total == len(outcomes) == IMAGES
    assert manifest.counts.cancelled > 100
    assert len([result.segment_map for result in job.results()]) == manifest.counts.stored
    shown = maskmill("status", job.id, environment=environment)
    assert "cancelled by its submitter" in shown.stdout
    assert shown.returncode == 4
    assert maskmill("cancel", job.id, environment=environment).returncode == 2

    again = client.submit(str(tmp_path / "some"), model="demo")
    assert again.wait(WAIT_SECONDS).counts == Counts(
        stored=IMAGES - manifest.counts.stored, reused=manifest.counts.stored
    ), "what was stored is not made anew"


@pytest.mark.attended
def test_a_job_of_rotten_input_is_stopped_with_the_reason(client: Client, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("".join(f"{tmp_path}/gone-{n:04d}.jpg\n" for n in range(4000)))
    job = client.submit(str(names), model="demo", max_failures="5%")
    manifest = job.wait(WAIT_SECONDS)
    assert manifest.state is JobState.CANCELLED
    assert 200 < manifest.counts.failed < 2000
    assert manifest.counts.total == 4000
    assert "more than --max-failures allows" in (manifest.reason or "")
    assert "not_found" in (manifest.reason or "")


@pytest.mark.attended
def test_failures_are_listed_and_retried_by_code(client: Client, environment: dict[str, str], tmp_path: Path) -> None:
    images = write_good(tmp_path / "some", 20)
    away = {index: images[index].read_bytes() for index in (2, 11, 12)}
    names = tmp_path / "list.txt"
    names.write_text("\n".join(map(str, images)))
    for index in away:
        images[index].unlink()
    images[5].write_bytes(b"no image")
    job = client.submit(str(names), model="demo")
    assert job.wait(WAIT_SECONDS).failures == {"not_an_image": 1, "not_found": 3}

    listed = maskmill("failures", job.id, "--code", "not_found", environment=environment)
    assert [line.split("\t")[:2] for line in listed.stdout.splitlines()] == [
        [str(images[index]), "not_found"] for index in away
    ]
    for index, data in away.items():
        images[index].write_bytes(data)
    queued = maskmill("retry", job.id, "--code", "not_found", environment=environment)
    assert "3 images queued again" in queued.stdout
    manifest = job.wait(WAIT_SECONDS)
    assert (manifest.counts, manifest.failures) == (Counts(stored=19, failed=1), {"not_an_image": 1})
    assert [outcome.uri for outcome in job.outcomes()] == list(map(str, images))
    assert maskmill("retry", job.id, "--code", "timeout", environment=environment).returncode == 2
    for command in ("retry", "failures"):
        misspelt = maskmill(command, job.id, "--code", "not_fuond", environment=environment)
        assert misspelt.returncode == 2
        assert "no image fails with the code 'not_fuond'; did you mean 'not_found'?" in misspelt.stderr


def test_a_small_job_of_higher_priority_goes_first(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    write_good(tmp_path / "large", 160)
    write_good(tmp_path / "small", 16)
    large = client.submit(str(tmp_path / "large"), model="demo")
    small = client.submit(str(tmp_path / "small"), model="demo", priority=10)
    start_worker()
    small.wait(WAIT_SECONDS)
    assert large.status().counts.stored <= 24
    assert large.wait(WAIT_SECONDS).counts.stored == 160
