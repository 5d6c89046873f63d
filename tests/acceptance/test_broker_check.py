"""What a worker says at its start of a broker that will not do."""

from __future__ import annotations

from pathlib import Path

from maskmill import exit_codes
from tests.conftest import StartWorker, wait_for
from tests.integration.valkey import url, valkey


def test_a_cluster_is_refused_with_a_sentence(start_worker: StartWorker, tmp_path: Path) -> None:
    with valkey(tmp_path, "cluster-enabled yes") as port:
        worker = start_worker(MASKMILL_BROKER_URL=url(port))

        assert worker.process.wait(600) == exit_codes.USAGE

    [error] = [line for line in worker.log.read_text().splitlines() if line.startswith("error: ")]
    assert "Redis Cluster" in error
    assert "Traceback" not in worker.log.read_text()


def test_what_is_wrong_with_a_broker_is_one_line_and_the_worker_starts(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    with valkey(tmp_path, "maxmemory-policy allkeys-lru") as port:
        worker = start_worker(MASKMILL_BROKER_URL=url(port))
        wait_for(lambda: "worker_ready" in worker.log.read_text(), worker.log.read_text)
        worker.stop()

    said = [line for line in worker.log.read_text().splitlines() if "broker_unfit" in line]
    assert len(said) == 1
    assert "maxmemory-policy" in said[0]
