"""SIGTERM to a worker whose servers go away while it drains: it ends all the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from maskmill import Client, Settings
from maskmill_producer import embedded
from maskmill_worker.process.drain import LEAVE_SECONDS
from tests.acceptance.images import write_good
from tests.acceptance.test_kills import wait_until_some_are_stored
from tests.conftest import StartWorker

IMAGES = 60


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[embedded.Servers]:
    """A pair that this test may do to as it likes."""
    with embedded.running(tmp_path / "servers") as pair:
        yield pair


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Ten shards, so that the signal falls between the first and the last."""
    return settings.model_copy(update={"shard_size": IMAGES // 10})


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "silent"])
def test_sigterm_ends_a_worker_whose_servers_are(
    fault: signal.Signals, client: Client, start_worker: StartWorker, servers: embedded.Servers, tmp_path: Path
) -> None:
    write_good(tmp_path / "some", IMAGES)
    worker = start_worker()
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_until_some_are_stored(job)
    family = psutil.Process(worker.process.pid).children(recursive=True)

    worker.process.terminate()
    time.sleep(0.3)
    for server in embedded.status(servers.state_dir).servers:
        assert server.pid
        os.kill(server.pid, fault)
    worker.process.wait(client.settings.drain_seconds + LEAVE_SECONDS + 60)  # for ever, if nothing ended it

    assert not psutil.wait_procs(family, timeout=120)[1]
