"""SIGKILL of whatever runs, at random moments: supervisor, worker, pool child, loader process."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from maskmill import Client, Job, Settings
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, Worker, settings_of

IMAGES, KILLS, WORKERS = (5000, 100, 3) if LONG else (600, 3, 2)
FLEET = ("--devices", "cpu", "--workers-per-device", str(WORKERS), "--backoff-seconds", "0.2")
EACH = 9 * IMAGES // (10 * KILLS)
"""Images that are done between two kills, so that the last one comes before the end."""

STILL_SECONDS = 600
WAIT_SECONDS = 7200 if LONG else 600
SEED = 20261123


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """Leases as short as a test can afford, and small shards."""
    return settings_of(servers, lease_seconds=5, shard_size=16)


class Recovery:
    """How long the job stood still once it had begun, at most."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.slowest = 0.0
        self._done = 0
        self._since = time.monotonic()

    def watch(self, fleet: Worker, images: int) -> bool:
        """Wait until so many images are done, or for the fleet to end; True when the job has ended."""
        while True:
            status, now = self.job.status(), time.monotonic()
            if self._done:
                self.slowest = max(self.slowest, now - self._since)
            if status.counts.total > self._done:
                self._done, self._since = status.counts.total, now
            if status.finished:
                return True
            if fleet.process.poll() is not None or self._done >= images:
                return False
            assert now - self._since < STILL_SECONDS, f"stands still at {self._done}:\n{fleet.log.read_text()}"
            time.sleep(0.05)


def victims(fleet: Worker) -> list[psutil.Process]:
    """Every process of the fleet, its supervisor first."""
    try:
        supervisor = psutil.Process(fleet.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
@pytest.mark.timeout(2 * WAIT_SECONDS)
def test_random_kills_lose_and_repeat_nothing(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    images = write_good(tmp_path / "some", IMAGES)
    fleet = start_worker(*FLEET)
    job = client.submit(str(tmp_path / "some"), model="demo")
    recovery, kills, supervisors = Recovery(job), 0, 0
    while not recovery.watch(fleet, EACH * (kills + 1) if kills < KILLS else IMAGES + 1):
        if fleet.process.poll() is not None:  # killed, or too many of its workers in a row
            fleet = start_worker(*FLEET)
        elif processes := victims(fleet):
            time.sleep(dice.uniform(0, 0.5))
            # the supervisor takes all others along: one time in ten, so that each of them has its turn
            victim = processes[0] if dice.random() < 0.1 else dice.choice(processes[1:] or processes)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                kills += 1
                supervisors += victim.pid == fleet.process.pid
    job.wait(WAIT_SECONDS)
    account = check_account(job, [str(image) for image in images])
    record(account.row("SIGKILL of supervisor, worker, pool child, loader process", kills, recovery.slowest))
    assert account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert kills == KILLS if LONG else kills >= 2
    assert not LONG or supervisors
