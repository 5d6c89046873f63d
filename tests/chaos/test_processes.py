"""SIGKILL of whatever runs, at random moments: pool child, worker, loader process."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from maskmill import Client, Job, Settings
from producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, Worker, settings_of

IMAGES, KILLS, WORKERS = (5000, 100, 3) if LONG else (120, 3, 2)
WAIT_SECONDS = 3600 if LONG else 300
SEED = 20261123


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """Leases as short as a test can afford; all else as it is by default."""
    return settings_of(servers, lease_seconds=5, hint_seconds=10, shard_size=128 if LONG else 16)


def stored(job: Job) -> int:
    return job.status().counts.total


class Recovery:
    """How long the job stood still after a kill, at most."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.slowest = 0.0

    def watch(self, seconds: float) -> bool:
        """Wait for the next outcome, at least so long; True when the job has ended."""
        started, before = time.monotonic(), stored(self.job)
        while True:
            status = self.job.status()
            if status.finished:
                return True
            waited = time.monotonic() - started
            if status.counts.total > before and waited >= seconds:
                return False
            if status.counts.total == before:
                self.slowest = max(self.slowest, waited)
            assert waited < WAIT_SECONDS, "nothing is stored any more"
            time.sleep(0.05)


def victims(workers: list[Worker]) -> list[psutil.Process]:
    """Every process of every worker."""
    found = []
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(worker.process.pid)
            found += [process, *process.children(recursive=True)]
    return found


@pytest.mark.slow
def test_random_kills_lose_and_repeat_nothing(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    images = write_good(tmp_path / "some", IMAGES)
    workers = [start_worker() for _ in range(WORKERS)]
    job = client.submit(str(tmp_path / "some"), model="demo")
    recovery, kills = Recovery(job), 0
    while kills < KILLS and not recovery.watch(dice.uniform(0.2, 3.0)):
        for place, worker in enumerate(workers):
            if worker.process.poll() is not None:
                workers[place] = start_worker()  # what a supervisor does
        with suppress(psutil.NoSuchProcess):
            dice.choice(victims(workers)).kill()
            kills += 1
    while not recovery.watch(0.0):
        for place, worker in enumerate(workers):
            if worker.process.poll() is not None:
                workers[place] = start_worker()
    job.wait(WAIT_SECONDS)
    account = check_account(job, [str(image) for image in images])
    record(account.row("SIGKILL of pool child, worker, loader process", kills, recovery.slowest))
    assert account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    if not LONG:
        assert kills >= 2
