"""Real parts: one broker and one object store a session; a queue and an output prefix for each test."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog

from maskmill import Client, Settings
from maskmill.services import Services
from maskmill.settings import S3Settings
from maskmill_producer import embedded

NUMBERS = itertools.count()
DEMO_SAMPLES = Path(__file__).parents[1] / "demo" / "samples"

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on a hub


@pytest.fixture(autouse=True)
def logs_as_they_are_at_first() -> None:
    """A `Client` of an earlier test has structlog keep progress to itself, for the whole process."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Servers]:
    """A real Valkey and a real S3 server; a server that cannot start is an error, never a skip."""
    with embedded.running(tmp_path_factory.mktemp("servers")) as running:
        yield running


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a background job (of CI, say) is born deaf to SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def settings_of(servers: embedded.Servers, **changes: Any) -> Settings:
    """Settings with short leases and with a queue and an output prefix that nobody else uses."""
    name = f"t{os.getpid()}-{next(NUMBERS)}"
    short = {"lease_seconds": 3, "drain_seconds": 1, "max_attempts": 3, "trust_submitters": True}
    fields = short | {"prefix": name, "queue": name} | changes
    s3 = S3Settings(
        endpoint_url=servers.s3_endpoint_url,
        access_key_id=servers.access_key_id,
        secret_access_key=servers.secret_access_key,
        region=servers.region,
    )
    return Settings(broker_url=servers.broker_url, bucket=servers.bucket, s3=s3, source_s3=s3, **fields)


def environment_of(settings: Settings, servers: embedded.Servers) -> dict[str, str]:
    """The same settings for a child process."""
    names = (
        "lease_seconds",
        "drain_seconds",
        "max_attempts",
        "prefix",
        "queue",
        "shard_size",
        "window",
    )
    given = {name: getattr(settings, name) for name in names}
    ours = {f"MASKMILL_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    ours["MASKMILL_ALLOW_PRIVATE_HOSTS"] = "127.0.0.1"  # where the tests' own web servers are
    ours["MASKMILL_RUN_DIR"] = str(servers.state_dir / "workers")
    return {**os.environ, **servers.environment(), **ours}


@pytest.fixture
def settings(servers: embedded.Servers, request: pytest.FixtureRequest) -> Settings:
    """A queue of the test's own; for tests marked `attended` that of a worker which they share."""
    attended = request.node.get_closest_marker("attended") is not None
    return settings_of(servers, **({"queue": request.getfixturevalue("attended_queue")} if attended else {}))


@pytest.fixture(scope="session")
def attended_queue(servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A queue with a worker, which takes 10 s to start, for all tests that need nothing else of it."""
    settings = settings_of(servers)
    with worker_starter(environment_of(settings, servers), tmp_path_factory.mktemp("worker")) as start:
        start()
        yield settings.queue


@pytest.fixture
def services(settings: Settings) -> Services:
    return Services.connect(settings)


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(settings)


@pytest.fixture
def environment(settings: Settings, servers: embedded.Servers) -> dict[str, str]:
    return environment_of(settings, servers)


@pytest.fixture
def modules_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where transformers copies the code of models that are loaded in this process: a folder of the test's own."""
    folder = tmp_path / "transformers_modules_of_this_test"
    for name in [each for each in sys.modules if each.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not each.endswith(folder.name)])
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
    return folder


def wait_for(happened: Callable[[], bool], what: Callable[[], object], seconds: float = 600) -> None:
    """Wait until it has happened; if it does not, fail and say what there is instead."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that takes too long."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Worker:
    """A real `maskmill-worker` process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pool_child(self) -> psutil.Process:
        """The process that runs the shards: the worker's child that has the pool's command line."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            for child in psutil.Process(self.process.pid).children():
                # Celery gives it a title of its own where setproctitle is installed, as by `make mutate`.
                if any(sign in " ".join(child.cmdline()) for sign in ("spawn_main", "PoolWorker")):
                    return child
            time.sleep(0.1)
        raise AssertionError(f"no pool process:\n{self.log.read_text()}")

    def stop(self) -> None:
        end(self.process)


StartWorker = Callable[..., Worker]
WORKER = (str(Path(sys.executable).parent / "maskmill-worker"),)


@contextmanager
def worker_starter(environment: dict[str, str], folder: Path, program: Sequence[str] = ()) -> Iterator[StartWorker]:
    """Starts real workers, or another program like it; they and their children are gone when the block ends."""
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> Worker:
            log = folder / f"worker-{next(NUMBERS)}.log"
            command = [*(program or WORKER), *(arguments or ("--device", "cpu"))]
            with log.open("wb") as output:
                process = subprocess.Popen(command, env=environment | variables, stdout=output, stderr=output)
            worker = Worker(process, log)
            stack.callback(worker.stop)
            return worker

        yield start


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Iterator[StartWorker]:
    with worker_starter(environment, tmp_path) as start:
        yield start
