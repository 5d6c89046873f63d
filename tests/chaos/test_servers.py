"""Broker and object store that die, forget, hang and fill up: the job ends, and its account balances."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from maskmill import Client, Job, Settings
from maskmill.errors import BrokerUnavailable, JobFailed, MaskmillError, StoreUnavailable
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, Worker, environment_of, settings_of, worker_starter

IMAGES = 2000 if LONG else 160
WAIT_SECONDS = 7200 if LONG else 600
RECOVERY_SECONDS = 600
BLACK_HOLE_SECONDS = 60 if LONG else 5
FULL_SECONDS = 5 if LONG else 2


@dataclass
class Pair:
    """Servers of one test alone, and what can be done to them."""

    servers: embedded.Servers
    settings: Settings
    client: Client

    def process(self, name: str) -> psutil.Process:
        [server] = [each for each in embedded.status(self.servers.state_dir).servers if each.name == name]
        assert server.pid
        return psutil.Process(server.pid)

    def kill_broker(self, job: Job) -> None:
        self.kill("broker")

    def kill_store(self, job: Job) -> None:
        self.kill("object store")

    def kill(self, name: str) -> None:
        """SIGKILL, and a new one with the old data."""
        self.process(name).kill()
        time.sleep(1)
        embedded.start(self.servers.state_dir)

    def wipe(self, job: Job) -> None:
        """The broker forgets everything, messages and ledger; a person runs `maskmill resume`."""
        self.client.services.ledger.redis.flushall()
        time.sleep(1)
        Client(self.settings).job(job.id, job.out).resume()

    def black_hole(self, job: Job) -> None:
        """The broker takes whatever it is sent and never answers."""
        broker = self.process("broker")
        broker.suspend()
        time.sleep(BLACK_HOLE_SECONDS)
        broker.resume()

    def fill(self, job: Job) -> None:
        """The broker has no memory for another key."""
        redis = self.client.services.ledger.redis
        redis.config_set("maxmemory", 1)
        time.sleep(FULL_SECONDS)
        redis.config_set("maxmemory", 0)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with embedded.running(tmp_path / "servers") as servers:
        settings = settings_of(servers, lease_seconds=5, shard_size=8)
        yield Pair(servers, settings, Client(settings))
        embedded.stop(tmp_path / "servers")


@pytest.fixture
def start_worker(pair: Pair, tmp_path: Path) -> Iterator[StartWorker]:
    with worker_starter(environment_of(pair.settings, pair.servers), tmp_path) as start:
        yield start


def images_done(job: Job) -> int | None:
    """None while a server does not answer."""
    with suppress(BrokerUnavailable, StoreUnavailable, JobFailed):
        return job.status().counts.total
    return None


def wait_for_more(job: Job, than: int, worker: Worker) -> float:
    """Seconds until more images are done; what a watching client does."""
    started = time.monotonic()
    while True:
        done = images_done(job)
        if done is not None and done > than:
            return time.monotonic() - started
        still = f"stands still at {done} images"
        assert time.monotonic() < started + RECOVERY_SECONDS, f"{still}:\n{worker.log.read_text()}"
        time.sleep(0.05)


def wait_for_the_end(job: Job) -> None:
    started = time.monotonic()
    while time.monotonic() < started + WAIT_SECONDS:
        with suppress(MaskmillError, TimeoutError):
            job.wait(timeout=30)
            return
        time.sleep(1)


FAULTS: dict[str, tuple[int, Callable[[Pair, Job], None]]] = {
    "broker: SIGKILL and restart": (20, Pair.kill_broker),
    "broker: wiped, then resume": (5, Pair.wipe),
    f"broker: silent for {BLACK_HOLE_SECONDS} s": (5, Pair.black_hole),
    "broker: at maxmemory": (5, Pair.fill),
    "store: SIGKILL and restart": (10, Pair.kill_store),
}


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
@pytest.mark.parametrize("faults", [[name] for name in FAULTS] if LONG else [list(FAULTS)])
def test_faults_of_the_servers_lose_and_repeat_nothing(
    faults: list[str], pair: Pair, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    worker = start_worker()
    job = pair.client.submit(str(tmp_path / "some"), model="demo")
    wait_for_more(job, 0, worker)
    for name in faults:
        times, fault = FAULTS[name]
        slowest, happened = 0.0, 0
        for _ in range(times if LONG else 1):
            done = images_done(job) or 0
            if done >= IMAGES:
                break
            fault(pair, job)
            happened += 1
            slowest = max(slowest, wait_for_more(job, done, worker))
        if LONG:
            wait_for_the_end(job)
            record(check_account(job, [str(image) for image in images]).row(name, happened, slowest))
    wait_for_the_end(job)
    account = check_account(job, [str(image) for image in images])
    assert account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    if not LONG:
        record(account.row(", ".join(faults), len(faults)))
