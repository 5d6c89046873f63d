"""A worker that hears of no work says so, and mends itself: with a new connection, else with a new start in place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskmill import Client, Job
from tests.conftest import DEMO_SAMPLES, StartWorker, Worker, wait_for, worker_starter

DEAF_WORKER = (sys.executable, str(Path(__file__).parent / "deaf_worker.py"))
HEALTH = (str(Path(sys.executable).parent / "maskmill-worker"), "health", "--json")
WAIT_SECONDS = 600


@pytest.fixture
def deaf_environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A worker is deaf until the file goes."""
    (tmp_path / "deaf").touch()
    return environment | {"DEAF_FILE": str(tmp_path / "deaf"), "MASKMILL_RUN_DIR": str(tmp_path / "run")}


@pytest.fixture
def start_deaf_worker(deaf_environment: dict[str, str], tmp_path: Path) -> Iterator[StartWorker]:
    with worker_starter(deaf_environment, tmp_path, DEAF_WORKER) as start:
        yield start


def health(environment: dict[str, str]) -> dict[str, Any]:
    """What `maskmill-worker health` says of the one worker, with its exit code."""
    asked = subprocess.run(HEALTH, env=environment, capture_output=True, text=True, timeout=600)
    [worker] = json.loads(asked.stdout)["workers"]
    return {**worker, "code": asked.returncode}


def until_ready(worker: Worker) -> None:
    wait_for(lambda: "worker_ready" in worker.log.read_text(), worker.log.read_text)


def assert_done(job: Job) -> None:
    manifest = job.wait(WAIT_SECONDS)
    assert manifest.counts.stored == manifest.submitted


def test_a_new_connection_is_enough_where_it_helps(
    client: Client, start_deaf_worker: StartWorker, deaf_environment: dict[str, str]
) -> None:
    worker = start_deaf_worker(DEAF_ONCE="1")
    until_ready(worker)
    pool_child = worker.pool_child

    assert_done(client.submit(str(DEMO_SAMPLES), model="demo"))

    wait_for(lambda: health(deaf_environment)["state"] == "idle", worker.log.read_text)
    told = worker.log.read_text()
    assert told.count("worker_deaf") == 1
    assert "worker_restarts" not in told
    assert worker.pool_child == pool_child, "a loaded model is kept"


def test_a_worker_that_stays_deaf_says_so_and_starts_anew_in_place(
    client: Client, start_deaf_worker: StartWorker, deaf_environment: dict[str, str], tmp_path: Path
) -> None:
    worker = start_deaf_worker()
    until_ready(worker)
    pool_child = worker.pool_child
    before = health(deaf_environment)
    job = client.submit(str(DEMO_SAMPLES), model="demo")

    wait_for(lambda: health(deaf_environment)["state"] == "deaf", worker.log.read_text)
    deaf = health(deaf_environment)
    wait_for(lambda: "worker_restarts" in worker.log.read_text(), worker.log.read_text)
    (tmp_path / "deaf").unlink()
    assert_done(job)

    assert (before["alive"], before["code"]) == (True, 0)
    assert (deaf["alive"], deaf["code"], deaf["pid"]) == (False, 1, before["pid"])
    assert "takes no message" in deaf["reason"]
    assert worker.process.poll() is None
    assert health(deaf_environment)["pid"] == worker.process.pid, "the same process to its supervisor"
    assert not pool_child.is_running()
    worker.stop()
    assert worker.process.returncode == 0, "it leaves in order after a new start, too"
    assert not list((tmp_path / "run").iterdir())


def test_an_acknowledgement_that_fails_makes_nobody_deaf(client: Client, start_deaf_worker: StartWorker) -> None:
    worker = start_deaf_worker(ACK_FAILS="1")

    for _ in range(2):
        assert_done(client.submit(str(DEMO_SAMPLES), model="demo", overwrite=True))

    assert "Couldn't ack" in worker.log.read_text()
    assert "worker_deaf" not in worker.log.read_text()
