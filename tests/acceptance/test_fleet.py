"""A fleet of real workers: its jobs, its deaths, its end; and what `maskmill-worker health` says meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from maskmill import Client, Job, Settings, exit_codes
from maskmill.cores import bound_cores
from maskmill.jobs.records import read_report
from maskmill.services import Services
from maskmill_producer import embedded
from maskmill_worker.cli import SPIN_COUNT
from tests.acceptance.images import write_good
from tests.acceptance.test_job import assert_every_image_has_one_outcome
from tests.conftest import StartWorker, end, settings_of

WORKER = str(Path(sys.executable).parent / "maskmill-worker")
WAIT_SECONDS = 600
IMAGES = 60
TWO = ("--devices", "cpu", "--workers-per-device", "2")


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """Twenty shards, so that two workers have their share and a kill falls among them."""
    return settings_of(servers, shard_size=3)


@dataclass
class RunningFleet:
    """A real `maskmill-worker --devices …`."""

    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]

    def health(self) -> tuple[int, dict[str, Any]]:
        """Exit code and answer of `maskmill-worker health --json`, whichever stream it came on."""
        asked = run_worker("health", "--json", environment=self.environment)
        return asked.returncode, json.loads(asked.stdout or asked.stderr)

    def until_healthy(self, workers: int = 2) -> dict[str, int]:
        """Wait for so many live workers; their process ids by name."""
        deadline = time.monotonic() + 300
        while True:
            code, said = self.health()
            alive = {seen["node"].split("@")[0]: seen["pid"] for seen in said.get("workers", []) if seen["alive"]}
            if code == 0 and len(alive) == workers:
                return alive
            assert time.monotonic() < deadline, (said, self.log.read_text())

    def stop(self) -> None:
        end(self.process)


StartFleet = Callable[..., RunningFleet]


@pytest.fixture
def start_fleet(environment: dict[str, str], tmp_path: Path) -> Iterator[StartFleet]:
    """Starts fleets whose health files are their own; they are gone when the test ends."""
    environment = environment | {"MASKMILL_RUN_DIR": str(tmp_path / "run")}
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> RunningFleet:
            log = tmp_path / "fleet.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [WORKER, *arguments], env=environment | variables, stdout=output, stderr=output
                )
            fleet = RunningFleet(process, log, environment | variables)
            stack.callback(fleet.stop)
            return fleet

        yield start


def run_worker(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WORKER, *arguments], env=environment, capture_output=True, text=True, timeout=600)


def family_of(fleet: RunningFleet) -> list[psutil.Process]:
    return psutil.Process(fleet.process.pid).children(recursive=True)


def wait_for(happened: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def pool_processes_at_work(job: Job, shards: int) -> set[str]:
    reports = [read_report(job.store, job.id, shard) for shard in range(shards)]
    return {report.worker.split(":")[1] for report in reports if report}


def assert_all_stored(job: Job, images: list[Path]) -> None:
    outcomes = assert_every_image_has_one_outcome(job, [str(image) for image in images])
    assert {outcome.status.value for outcome in outcomes} == {"stored"}


def test_two_workers_share_the_jobs(
    client: Client, services: Services, start_fleet: StartFleet, environment: dict[str, str], tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    fleet = start_fleet(*TWO)
    assert set(fleet.until_healthy()) == {"cpu0-1", "cpu0-2"}
    wait_for(lambda: services.ledger.workers() == 2, fleet.log.read_text)

    at_work: set[str] = set()
    deadline = time.monotonic() + WAIT_SECONDS
    while len(at_work) < 2:  # whose model is loaded first may well do the whole of a job this small
        assert time.monotonic() < deadline, fleet.log.read_text()
        job = client.submit(str(tmp_path / "some"), model="demo", overwrite=True)
        job.wait(timeout=WAIT_SECONDS)
        assert_all_stored(job, images)
        at_work |= pool_processes_at_work(job, IMAGES // 3)

    assert run_worker("health", environment=fleet.environment).stdout.count("alive cpu0-") == 2
    code, said = fleet.health()
    assert (code, said["healthy"], said["queue"]) == (0, True, client.settings.queue)
    spins = {process.environ().get("GOMP_SPINCOUNT") for process in family_of(fleet)}
    assert spins - {None} == {SPIN_COUNT}, "they share the cores"  # None: setproctitle writes over what /proc shows
    arenas = {process.environ().get("MALLOC_ARENA_MAX") for process in family_of(fleet)}
    assert arenas - {None} == {"2"}, "what slices free stays together"
    huge = {process.environ().get("THP_MEM_ALLOC_ENABLE") for process in family_of(fleet)}
    assert huge - {None} == {"1"}, "tensors come without a page fault for each 4 KiB"


@pytest.mark.skipif(bound_cores() == 1, reason="one core is all that there is")
@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_torch_keeps_to_the_cores_that_a_worker_may_count_on(
    start_worker: StartWorker, given: dict[str, str], threads: str
) -> None:
    worker = start_worker(MASKMILL_CORES="1", **given)
    assert worker.pool_child.environ()["OMP_NUM_THREADS"] == threads


def test_a_killed_worker_comes_back_and_the_job_is_complete(
    client: Client, start_fleet: StartFleet, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    fleet = start_fleet(*TWO)
    before = fleet.until_healthy()
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_for(lambda: job.status().counts.stored > 0, job.status)

    psutil.Process(before["cpu0-1"]).kill()
    job.wait(timeout=WAIT_SECONDS)
    after = fleet.until_healthy()

    assert_all_stored(job, images)
    assert after["cpu0-1"] != before["cpu0-1"]
    assert after["cpu0-2"] == before["cpu0-2"]
    assert "signal SIGKILL" in fleet.log.read_text()
    assert fleet.process.poll() is None


def test_sigterm_drains_and_leaves_no_process(client: Client, start_fleet: StartFleet, tmp_path: Path) -> None:
    write_good(tmp_path / "some", IMAGES)
    fleet = start_fleet(*TWO)
    job = client.submit(str(tmp_path / "some"), model="demo")
    wait_for(lambda: job.status().counts.stored > 0, job.status)
    family = family_of(fleet)

    fleet.process.terminate()
    code = fleet.process.wait(600)
    _, alive = psutil.wait_procs(family, timeout=120)

    assert code == 0, fleet.log.read_text()
    assert len(family) >= 4
    assert not alive
    assert job.status().shards_claimed == 0, "leases were given back, not left to expire"
    assert list((tmp_path / "run").iterdir()) == [], "who leaves in order is not missed"


def test_a_fleet_that_is_killed_takes_its_workers_along(start_fleet: StartFleet) -> None:
    fleet = start_fleet(*TWO)
    fleet.until_healthy()
    wait_for(lambda: len(family_of(fleet)) >= 4, fleet.log.read_text)  # two workers, each with its pool's process
    family = family_of(fleet)

    fleet.process.kill()
    _, alive = psutil.wait_procs(family, timeout=120)

    assert not alive


def test_a_worker_whose_fleet_is_gone_before_it_looks_ends_itself(environment: dict[str, str]) -> None:
    started = subprocess.Popen(["true"])
    started.wait()
    ended = run_worker("--device", "cpu", f"--with-parent={started.pid}", environment=environment)
    assert ended.returncode == -signal.SIGTERM


def test_health_before_during_and_after_a_kill(start_fleet: StartFleet) -> None:
    fleet = start_fleet(*TWO, "--backoff-seconds", "600", MASKMILL_LOG_JSON="1")
    before = run_worker("health", environment=fleet.environment | {"MASKMILL_RUN_DIR": "/nowhere"})
    assert (before.returncode, before.stdout) == (1, "")
    assert "start one with `maskmill-worker`" in before.stderr
    alive = fleet.until_healthy()

    psutil.Process(alive["cpu0-2"]).kill()
    wait_for(lambda: "worker_ended" in fleet.log.read_text(), fleet.log.read_text)
    exit_code, answer = fleet.health()
    told = run_worker("health", environment=fleet.environment)

    assert exit_code == told.returncode == 1
    assert [seen["alive"] for seen in answer["workers"]] == [True, False]
    assert told.stdout.splitlines()[0].startswith("alive cpu0-1@")
    assert told.stdout.splitlines()[1].startswith("DEAD  cpu0-2@")


def test_workers_are_healthy_while_the_broker_is_away(start_fleet: StartFleet) -> None:
    fleet = start_fleet("--devices", "cpu", MASKMILL_BROKER_URL="redis://127.0.0.1:9/0")

    fleet.until_healthy(1)
    fleet.process.terminate()

    assert fleet.process.wait(600) == 0, fleet.log.read_text()


def test_workers_that_cannot_start_stop_the_fleet(start_fleet: StartFleet, tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("raise ImportError('a broken installation')\n")  # found out in the worker
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    fleet = start_fleet(*TWO, "--backoff-seconds", "0.05", PYTHONPATH=path)

    assert fleet.process.wait(600) == exit_codes.UNAVAILABLE, fleet.log.read_text()

    [error] = [line for line in fleet.log.read_text().splitlines() if line.startswith("error: ")]
    assert "on cpu ended 5 times in a row" in error
    assert "exit code 1" in error
    assert "maskmill-worker --device cpu" in error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device", "cpu", "--devices", "cpu"], exit_codes.USAGE, "give one of the two"),
        (["--devices", "tpu"], exit_codes.USAGE, "'tpu' is not a device"),
        (["--devices", "cuda:2"], exit_codes.USAGE, "CUDA_VISIBLE_DEVICES lists 1 device"),
        (["--devices", "cuda:0"], exit_codes.USAGE, "worker gpu0 on cuda:0 cannot start"),
        (["--workers-per-device", "2"], exit_codes.USAGE, "--workers-per-device needs --devices"),
        (["--devices", "cpu", "--name", "me@%h"], exit_codes.USAGE, "leave --name out"),
        (["--devices", "cpu", "--model", "/nowhere"], exit_codes.MODEL, "no model folder '/nowhere'"),
    ],
)
def test_wrong_use_is_an_exit_code_and_a_line(
    arguments: list[str], code: int, said: str, environment: dict[str, str]
) -> None:
    result = run_worker(*arguments, environment=environment | {"CUDA_VISIBLE_DEVICES": "99"})

    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], ["health"]])
def test_the_command_explains_itself_with_examples(command: list[str], environment: dict[str, str]) -> None:
    shown = run_worker(*command, "--help", environment=environment | {"COLUMNS": "120"})

    assert shown.returncode == 0
    assert "Examples" in shown.stdout
    assert "maskmill-worker health" in shown.stdout
