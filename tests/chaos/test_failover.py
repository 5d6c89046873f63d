"""A broker with a replica behind one address: the primary freezes or is demoted, workers go on with the new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from maskmill import Client, Job, Settings
from maskmill.errors import BrokerUnavailable
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.chaos.replicated_broker import ReplicatedBroker, replicated_broker
from tests.conftest import Worker, environment_of, settings_of, wait_for, worker_starter

TIMES = 10 if LONG else 1
IMAGES = 60
WAIT_SECONDS = 600
FAULTS: dict[str, Callable[[ReplicatedBroker], None]] = {
    "primary frozen, replica promoted": ReplicatedBroker.fail_over,
    "roles swapped, old primary stays up": ReplicatedBroker.swap_roles,
}


@dataclass
class Site:
    """A replicated broker with one worker; each call connects anew, as a client after the fault does."""

    broker: ReplicatedBroker
    settings: Settings
    worker: Worker
    folder: Path

    def submit(self) -> Job:
        """The same images once more."""
        return Client(self.settings).submit(str(self.folder), model="demo", overwrite=True)

    def job(self, known: Job) -> Job:
        """The job, asked for anew."""
        return Client(self.settings).job(known.id, known.out)

    def said(self) -> str:
        return self.worker.log.read_text()


@pytest.fixture
def site(servers: embedded.Servers, tmp_path: Path) -> Iterator[Site]:
    with replicated_broker(tmp_path / "broker") as broker:
        private = settings_of(servers, lease_seconds=5, shard_size=2)
        settings = private.model_copy(update={"broker_url": SecretStr(broker.url)})
        environment = environment_of(settings, servers) | {"MASKMILL_BROKER_URL": broker.url}
        with worker_starter(environment, tmp_path) as start:
            write_good(tmp_path / "some", IMAGES)
            worker = start()
            wait_for(lambda: "worker_ready" in worker.log.read_text(), worker.log.read_text)
            yield Site(broker, settings, worker, tmp_path / "some")


def wait_for_images(job: Job, more_than: int, site: Site) -> float:
    """Seconds until the job has more images than that; the broker may not answer meanwhile."""

    def has_more() -> bool:
        with suppress(BrokerUnavailable):
            return job.status().counts.total > more_than
        return False

    started = time.monotonic()
    wait_for(has_more, site.said, WAIT_SECONDS)
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.timeout(3 * WAIT_SECONDS * TIMES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at_work", [False, True], ids=["idle", "in a job"])
def test_a_worker_takes_new_work_from_the_promoted_server(fault: str, at_work: bool, site: Site) -> None:
    images, slowest = sorted(map(str, site.folder.iterdir())), 0.0
    for _ in range(TIMES):
        before = site.submit()
        wait_for_images(before, 0 if at_work else IMAGES - 1, site)
        FAULTS[fault](site.broker)
        after = site.submit()
        slowest = max(slowest, wait_for_images(after, 0, site))
        for job in (site.job(before), after):
            job.wait(WAIT_SECONDS)
            account = check_account(job, images)
            assert account.stored == IMAGES
            assert account.lost == account.duplicated == account.failed == 0
        site.broker.mend()
    record(account.row(f"broker: {fault}, worker {'in a job' if at_work else 'idle'}", TIMES, slowest))
    assert "worker_restarts" not in site.said(), "the loaded model was kept"
    assert site.worker.process.poll() is None
