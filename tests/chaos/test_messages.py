"""Many more messages than are needed, and an owner that sleeps through its lease and then works on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from maskmill import Client, Settings
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, settings_of

IMAGES, REPEATS, SLEEPS = (2000, 20, 10) if LONG else (80, 5, 1)
SHARD_SIZE = 4
LEASE_SECONDS = 2
WAIT_SECONDS = 1800 if LONG else 600
SEED = 20261123


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    return settings_of(servers, lease_seconds=LEASE_SECONDS, shard_size=SHARD_SIZE)


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_messages_and_owners_that_come_too_late_change_nothing(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    notify = client.services.queue.notify
    images = write_good(tmp_path / "some", IMAGES)
    workers = [start_worker() for _ in range(2)]
    job = client.submit(str(tmp_path / "some"), model="demo")
    messages, sleeps = job.status().shards * REPEATS, 0
    while not (status := job.status()).finished:
        notify(min(20, messages))
        messages = max(0, messages - 20)
        if status.counts.stored and sleeps < SLEEPS:
            sleeper = dice.choice(workers).pool_child
            sleeper.suspend()
            time.sleep(1.5 * LEASE_SECONDS)
            sleeper.resume()
            sleeps += 1
        time.sleep(dice.uniform(0, 0.5))
    notify(messages)
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, [str(image) for image in images])
    fault = f"{REPEATS} times more messages; owners asleep beyond their lease"
    record(account.row(fault, sleeps))
    assert account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert sleeps
    assert all(worker.process.poll() is None for worker in workers)
