"""Three terminals: servers, worker, producer; each a process of its own that knows the others by settings alone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from maskmill import Settings
from maskmill.masks.segment_map import decode
from maskmill_producer.cli.main import app
from tests.acceptance.images import write_good
from tests.conftest import StartWorker, wait_for

MASKMILL = str(Path(sys.executable).parent / "maskmill")
EXIT_FAILURES, EXIT_USAGE, EXIT_MODEL, EXIT_UNAVAILABLE = 4, 2, 3, 5


def maskmill(*arguments: object, environment: dict[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [MASKMILL, *map(str, arguments)]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=600)


def test_submit_watch_status_and_results(
    environment: dict[str, str], settings: Settings, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "pictures", 8)
    start_worker()
    listed = "\n".join(
        [*map(str, images), str(tmp_path / "gone.jpg"), str(images[0]), f"{tmp_path}/./pictures/{images[1].name}"]
    )

    submitted = maskmill("submit", "-", "--model", "demo", environment=environment, stdin=listed)
    job = submitted.stdout.strip()
    watched = maskmill("watch", job, "--json", environment=environment)
    told = maskmill("status", job, "--json", environment=environment)
    everything = maskmill("status", "--json", environment=environment)
    failures = maskmill("failures", job, "--json", environment=environment)
    listing = maskmill("results", job, "--json", environment=environment)
    downloaded = maskmill("results", job, "--download", tmp_path / "masks", environment=environment)

    assert submitted.returncode == 0, submitted.stderr
    assert watched.returncode == told.returncode == EXIT_FAILURES, watched.stderr
    last = json.loads(watched.stdout.splitlines()[-1])
    assert (last["state"], last["counts"]["stored"]) == ("completed with failures", 8)
    status = json.loads(told.stdout)
    assert status["failures"] == {"not_found": 1}
    assert (status["found"], status["submitted"], status["left_out"]) == (11, 9, {"duplicate": 2})
    assert f"11 found; left out: 2 duplicate ({images[0]}…)" in submitted.stderr
    [failure] = map(json.loads, failures.stdout.splitlines())
    assert (failure["uri"], failure["code"]) == (str(tmp_path / "gone.jpg"), "not_found")
    assert [each["job"] for each in json.loads(everything.stdout)] == [job]
    keys = [json.loads(line)["mask_key"] for line in listing.stdout.splitlines()]
    assert len(keys) == 8
    assert downloaded.returncode == 0
    for key in keys:
        decode((tmp_path / key).read_bytes())


@pytest.mark.attended
def test_a_job_can_be_watched_by_people_too(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 3)

    job = maskmill("submit", tmp_path / "pictures", "--model", "demo", environment=environment).stdout.strip()
    watched = maskmill("watch", job, environment=environment)
    table = maskmill("status", environment=environment)

    assert watched.returncode == 0, watched.stderr
    assert "completed: 3 submitted = 3 stored" in watched.stdout
    assert job in table.stdout


class Terminal:
    """A command in a terminal of some columns, and all that it wrote there so far, without the control sequences."""

    def __init__(self, columns: int, *arguments: object, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        command, plain = [MASKMILL, *map(str, arguments)], {**environment, "TERM": "xterm", "NO_COLOR": "1"}
        plain.pop("COLUMNS", None)
        self.process = subprocess.Popen(command, env=plain, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._written = b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._written.decode(errors="replace"))

    def wait(self) -> int:
        code = self.process.wait(600)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while more := os.read(self._master, 65536):
                self._written += more


@contextmanager
def held_image() -> Iterator[tuple[str, Event]]:
    """The address of an image that a server keeps back until the event is set; it is none."""
    release = Event()

    class Held(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(600)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """No lines among those of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Held) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/held.jpg", release
        finally:
            release.set()
            server.shutdown()


def test_watch_says_why_nothing_happens_and_then_moves_by_image(
    environment: dict[str, str], start_worker: StartWorker, tmp_path: Path
) -> None:
    """A shard of four images, the last of which is kept back: the first three are seen before it is booked."""
    images = write_good(tmp_path / "pictures", 3)
    with held_image() as (held, release):
        listed = "\n".join([*map(str, images), held])
        options = ("--model", "demo", "--batch-size", 1, "--timeout", 300)
        job = maskmill("submit", "-", *options, environment=environment, stdin=listed).stdout.strip()
        watched = Terminal(60, "watch", job, environment=environment)
        wait_for(lambda: "no worker is there: start one with" in watched.text, lambda: watched.text)
        assert "no worker is there" in maskmill("status", job, environment=environment).stdout
        start_worker()
        wait_for(lambda: "3/4" in watched.text, lambda: watched.text)
        told = json.loads(maskmill("status", job, "--json", environment=environment).stdout)
        assert (told["counts"]["stored"], told["in_hand"]["stored"], told["shards_done"]) == (0, 3, 0)
        release.set()
        assert watched.wait() == EXIT_FAILURES, watched.text
    assert re.search(r"4 images in [0-9a-z. ]+, [0-9.]+ images/s", watched.text)
    assert "4 submitted = 3 stored + 1 failed" in watched.text
    assert "1 worker starts" in watched.text
    assert "…" not in watched.text


@pytest.mark.attended
def test_a_submission_can_be_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 5)
    (tmp_path / "pictures" / "0-first.jpg").write_text("no image")

    waited = maskmill(
        "submit", tmp_path / "pictures", "--model", "demo", "--limit", 3, "--wait", environment=environment
    )

    assert waited.returncode == EXIT_FAILURES, waited.stderr
    job, *account = waited.stdout.splitlines()
    assert any("3 submitted = 2 stored + 1 failed" in line for line in account), waited.stdout
    assert waited.stderr.endswith(f"all that failed: maskmill failures {job}\n")
    status = maskmill("status", job, environment=environment)
    assert (status.returncode, f"maskmill failures {job}" in status.stderr) == (EXIT_FAILURES, True)


def test_a_dry_run_counts_and_starts_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 4)
    (tmp_path / "pictures" / "notes.md").write_text("no image")
    state, out = tmp_path / "state", tmp_path / "out"
    nobody = environment | {"MASKMILL_BROKER_URL": "redis://:hunter2@127.0.0.1:9/0", "MASKMILL_STATE_DIR": str(state)}
    images = (tmp_path / "pictures", "--root", tmp_path, "--model", "demo", "--dry-run")

    run = maskmill("run", *images, "--out", out, environment=nobody)
    submitted = maskmill("submit", *images, "--json", environment=nobody)
    limited = maskmill("submit", *images, "--limit", 2, "--json", environment=nobody)
    refused = maskmill("run", *images, "--out", out, "--model", "/models/gone", environment=nobody)

    assert run.returncode == submitted.returncode == 0, run.stderr + submitted.stderr
    assert "would segment 4 images" in run.stdout
    assert "5 found; left out: 1 not an image by its name" in run.stderr
    assert "masks/pictures/" in run.stdout
    found = json.loads(submitted.stdout)
    assert (found["found"], found["images"], found["left_out"]) == (5, 4, {"not_an_image_name": 1})
    assert found["broker"] == f"redis://127.0.0.1:9/0, queue {environment['MASKMILL_QUEUE']}"
    assert json.loads(limited.stdout)["images"] == 2
    assert (refused.returncode, "/models/gone" in refused.stderr) == (EXIT_MODEL, True)
    assert not state.exists()
    assert not out.exists()


@pytest.mark.attended
def test_a_model_that_no_worker_here_could_have_is_said_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 1)
    submitted = maskmill("submit", tmp_path / "pictures", "--model", "/models/gone", environment=environment)
    assert submitted.returncode == 0
    assert "could not have the model: no model folder '/models/gone'" in submitted.stderr


def test_servers_that_are_not_there_are_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 1)
    nobody = environment | {"MASKMILL_BROKER_URL": "redis://:hunter2@127.0.0.1:9/0"}
    no_store = environment | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}

    for broken in (nobody, no_store):
        result = maskmill("submit", tmp_path / "pictures", environment=broken)

        assert result.returncode == EXIT_UNAVAILABLE
        assert result.stderr.startswith("error: ")
        assert "hunter2" not in result.stderr
        assert "Traceback" not in result.stderr


def test_an_unknown_job_is_one_line(environment: dict[str, str]) -> None:
    for job in ("20200101-000000-00000000", "../../etc/passwd"):
        result = maskmill("status", job, environment=environment)

        assert result.returncode == EXIT_USAGE
        assert "maskmill status" in result.stderr or "--out" in result.stderr


def test_every_command_explains_itself_with_an_example() -> None:
    names = ("run", "submit", "status", "watch", "results", "resume", "failures", "retry", "cancel", "bench")
    names += ("delete", "prune")
    commands = [[], *([name] for name in names)]
    commands += [["servers"], *(["servers", name] for name in ("start", "env", "status", "stop", "purge"))]

    for command in commands:
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "120"})
        assert shown.exit_code == 0
        assert "maskmill" in shown.stdout
        assert command[:1] in ([], ["servers"]) or "Example" in shown.stdout, command
