"""What a worker says at its start of a broker that will not do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pydantic import SecretStr

from maskmill import Client, Settings, exit_codes
from tests.acceptance.images import write_good
from tests.conftest import StartWorker, wait_for
from tests.integration.test_broker_ways import sentinel
from tests.integration.valkey import client, url, valkey


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


def test_the_documented_rights_are_all_that_a_job_needs(
    start_worker: StartWorker, settings: Settings, tmp_path: Path
) -> None:
    """`docs/servers.md`: one user for submitters and workers, with the keys of ledger and queue alone."""
    write_good(tmp_path / "some", 4)
    user = f"user maskmill on >hunter2 ~maskmill* ~_kombu* ~unacked* ~{settings.queue}* resetchannels +@all -@dangerous"
    with valkey(tmp_path, "user default off", f"{user} +info") as port:
        address = url(port, "maskmill:hunter2@")
        worker = start_worker(MASKMILL_BROKER_URL=address)
        submitter = Client(settings.model_copy(update={"broker_url": SecretStr(address)}))
        manifest = submitter.submit(str(tmp_path / "some"), model="demo").wait(timeout=600)
        worker.stop()
    assert manifest.counts.stored == 4
    assert "NOPERM" not in worker.log.read_text()
    assert "ermission" not in worker.log.read_text()
    assert "broker_unfit" not in worker.log.read_text()


LOUD_SECONDS = 10


def test_each_line_of_a_worker_is_json_and_no_state_of_its_broker_is_loud(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    """Ready; its broker a replica (Celery tries to connect many times a second), full, gone; and at its end."""
    log = Path()

    def lines_in(seconds: float) -> int:
        before = len(log.read_text().splitlines())
        time.sleep(seconds)  # a rate is a matter of time
        return len(log.read_text().splitlines()) - before

    with valkey(tmp_path) as port:
        worker = start_worker("--device", "cpu", "--json", MASKMILL_BROKER_URL=url(port))
        log = worker.log
        wait_for(lambda: "worker_ready" in log.read_text(), log.read_text)
        client(port).execute_command("REPLICAOF", "127.0.0.1", "1")
        wait_for(lambda: "read-only replica" in log.read_text(), log.read_text)
        replica = lines_in(LOUD_SECONDS)
        client(port).execute_command("REPLICAOF", "NO", "ONE")
        client(port).config_set("maxmemory", 1_000_000)
        wait_for(lambda: "memory is full" in log.read_text(), log.read_text)
        full = lines_in(LOUD_SECONDS)
    wait_for(lambda: "nothing listens there" in log.read_text(), log.read_text)
    gone = lines_in(LOUD_SECONDS)
    worker.pool_child.kill()
    worker.process.kill()
    worker.process.wait()
    time.sleep(2)  # for what cleans up after it

    assert max(replica, full, gone) <= LOUD_SECONDS, (replica, full, gone)
    for line in log.read_text().splitlines():
        assert json.loads(line)["event"], line


def test_a_worker_hears_of_work_through_a_socket_and_through_sentinels(
    start_worker: StartWorker, settings: Settings, tmp_path: Path
) -> None:
    """Celery's consumer, too: it is the one that waits for messages."""
    write_good(tmp_path / "some", 4)
    path = f"/tmp/maskmill-{os.getpid()}-worker.sock"
    with valkey(tmp_path, f"unixsocket {path}") as port, sentinel(tmp_path, port) as watcher:
        by_sentinel = f"sentinel://127.0.0.1:{watcher}/1?master_name=mine"
        for address in (f"unix://{path}?db=0", by_sentinel):
            worker = start_worker(MASKMILL_BROKER_URL=address)
            submitter = Client(settings.model_copy(update={"broker_url": SecretStr(address)}))
            wait_for(lambda log=worker.log: "worker_ready" in log.read_text(), worker.log.read_text)
            options = {"model": "demo", "overwrite": True}
            manifest = submitter.submit(str(tmp_path / "some"), **options).wait(timeout=600)
            assert manifest.counts.stored == 4
            worker.stop()
