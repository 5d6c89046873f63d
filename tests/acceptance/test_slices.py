"""One message leads a worker through a whole job, unless other jobs wait for their turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client, Job, Settings
from maskmill.jobs.records import read_report
from maskmill.services import Services
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.conftest import StartWorker, settings_of, wait_for

WAIT_SECONDS = 600


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """Shards of two images."""
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
    worker = start_worker()

    manifest = job.wait(timeout=WAIT_SECONDS)

    assert manifest.counts.stored == 21
    assert redis.llen(queue) <= services.settings.window
    reports = [read_report(job.store, job.id, shard) for shard in range(11)]
    assert [len(report.outcomes) for report in reports if report] == [2] * 10 + [1]
    assert all(report and report.device and report.device.total > 0 for report in reports)
    assert worker.log.read_text().count("model_loading") == 1


def test_a_lost_message_is_sent_again(
    client: Client, services: Services, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker()
    first = submit(client, tmp_path / "first", 2)
    first.wait(timeout=WAIT_SECONDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.services.queue, "notify", lambda _: None)
        second = submit(client, tmp_path / "second", 4)

    while not second.status().finished:  # nobody watches: `wait` would notify
        pass

    assert second.status().counts.stored == 4


def test_a_small_job_does_not_wait_for_the_end_of_a_large_one(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    large = submit(client, tmp_path / "large", 160)
    start_worker()
    small = submit(client, tmp_path / "small", 4)

    small.wait(timeout=WAIT_SECONDS)

    assert not large.status().finished
    assert large.wait(timeout=WAIT_SECONDS).counts.stored == 160


def test_a_worker_has_its_code_before_there_is_work_and_loads_no_model_for_none(
    client: Client, services: Services, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker()
    wait_for(lambda: has_torch(worker.pool_child.pid), lambda: "the pool process has loaded no torch", seconds=300)
    assert not has_torch(worker.process.pid)  # the main process never computes
    services.queue.notify(5)
    while services.ledger.queue_length(services.settings.queue):
        pass
    assert "model_loading" not in worker.log.read_text()
    assert submit(client, tmp_path / "images", 2).wait(timeout=WAIT_SECONDS).counts.stored == 2
    assert worker.log.read_text().count("model_loading") == 1


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
