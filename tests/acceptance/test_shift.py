"""One message leads a worker through a whole job, unless other jobs wait for their turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from maskmill_producer import embedded

from maskmill import Client, Job, Settings
from maskmill.jobs.account import read_report
from maskmill.services import Services
from tests.acceptance.images import write_good
from tests.conftest import StartWorker, settings_of

WAIT_SECONDS = 240


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """Shards of two images; a lost message would not be sent again within the test."""
    return settings_of(servers, shard_size=2, window=3, lease_seconds=30)


def submit(client: Client, folder: Path, images: int) -> Job:
    return client.submit([str(path) for path in write_good(folder, images)], model="demo", batch_size="auto")


def test_one_message_leads_through_the_whole_job(
    client: Client, services: Services, start_worker: StartWorker, tmp_path: Path
) -> None:
    job = submit(client, tmp_path / "images", 21)
    redis, queue = services.ledger.redis, services.settings.queue
    redis.ltrim(queue, -1, -1)
    assert redis.llen(queue) == 1
    start_worker()

    job.wait(timeout=WAIT_SECONDS)

    assert sum(outcome.mask_key is not None for outcome in job.outcomes()) == 21
    assert redis.llen(queue) <= services.settings.window
    reports = [read_report(job.store, job.id, shard) for shard in range(11)]
    assert [len(report.outcomes) for report in reports if report] == [2] * 10 + [1]
    assert all(report and report.device and report.device.busy + report.device.loading > 0 for report in reports)


def test_a_small_job_does_not_wait_for_the_end_of_a_large_one(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    large = submit(client, tmp_path / "large", 160)
    start_worker()
    small = submit(client, tmp_path / "small", 4)

    small.wait(timeout=WAIT_SECONDS)

    assert not large.status().finished
    large.wait(timeout=WAIT_SECONDS)
    assert large.status().counts.stored == 160
