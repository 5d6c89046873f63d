"""Plausible mistakes, typed as text for people and with `--json`: one line that names each and the cure."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmill import Client, exit_codes
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from maskmill_producer.local.sole_run import sole_run
from tests.acceptance.images import write_good
from tests.conftest import environment_of, settings_of
from tests.integration.finished_jobs import finished_job

MASKMILL = str(Path(sys.executable).parent / "maskmill")
CLOSED = "127.0.0.1:9"
NOBODY = {"MASKMILL_BROKER_URL": f"redis://:hunter2@{CLOSED}/0"}
JOB = "20200101-000000-00000000"

USAGE = "usage"
EXITS = {
    "model_unavailable": exit_codes.MODEL,
    "model_unusable": exit_codes.MODEL,
    "broker_unavailable": exit_codes.UNAVAILABLE,
    "broker_refused": exit_codes.UNAVAILABLE,
    "store_unavailable": exit_codes.UNAVAILABLE,
}
"""Of errors by their codes; all others are wrong use."""


@dataclass(frozen=True)
class Mistake:
    """What was typed with which variables set, the code of the error, and words that its line must have."""

    typed: str
    code: str
    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.variables.items()), self.typed])


def of(typed: str, *words: str, code: str = USAGE, **variables: str) -> Mistake:
    return Mistake(typed, code, words, variables)


def run(typed: str, *words: str, code: str = USAGE) -> Mistake:
    """A run that would do, but for what was typed last."""
    return of(f"run {{photos}} --out {{tmp}}/out --model demo {typed}", *words, code=code)


def submit(*words: str, code: str, **variables: str) -> Mistake:
    return of("submit {photos} --model demo", *words, code=code, **variables)


def setting(name: str, value: str, *words: str) -> Mistake:
    return of("status", name, *words, code="invalid_settings", **{name: value})


DRY = "--out {tmp}/out --model demo --dry-run"
TYPED = [
    of("ruun {photos} --out {tmp}/out", "no such command 'ruun'", "did you mean 'run'", "maskmill -h"),
    of("servers strt", "no such command 'strt'", "did you mean 'start'", "maskmill servers -h"),
    of("run {photos}", "missing option '--out'", "maskmill run -h"),
    of("run --out {tmp}/out", "missing argument 'SOURCE", "maskmill run -h"),
    of("status {photos}", "has no results of Maskmill", "name the --out of a run"),
    of("status 20261122-2053", "neither a job's id nor a folder", "`maskmill status`", code="job_not_found"),
    of("watch nonsense", "'nonsense' is not a job id", "`maskmill status`", code="job_not_found"),
    of("prune --older-than 30", "'--older-than'", "45m, 12h, 30d, 2w"),
    of("status", f"the broker at {CLOSED}", "nothing listens", "maskmill servers env", code="broker_unavailable"),
    of(f"run {{empty}} {DRY}", "empty has no images", ".jpg", code="source"),
    of(f"run '{{photos}}/*.jpgg' {DRY}", "*.jpgg has no images", ".jpg", code="source"),
    of(f"run {{tmp}}/table.csv {DRY} --column uri", "no column 'uri', but label, size", "--column", code="source"),
    run("{tmp}/photoss", "photoss: no such file or folder", "check the spelling", code="source"),
    run("ftp://host/a.jpg", "'ftp://host/a.jpg' cannot be read", "http(s)://, s3://", code="source"),
    run("-", "standard input", "write the list to a .txt file"),
    run("--modl demo", "no such option: --modl", "did you mean '--model'?"),
    run("--limit 0", "'--limit'", "at least 1"),
    run("--limit -1", "'--limit'", "at least 1"),
    run("--batch-size -1", "'--batch-size'", "a number from 1, or auto"),
    run("--threshold 2", "'--threshold'", "at most 1"),
    run("--threshold high", "'--threshold'", "should be a number"),
    run("--subtask instnce", "'instnce' is none of panoptic, instance, semantic", "did you mean 'instance'?"),
    run("--dtype fp16", "'fp16' is none of auto, float32, float16, bfloat16"),
    run("--scale mimax", "'mimax' is no scale", "write auto, none, minmax", code="invalid_spec"),
    run("--max-failures lots", "write a number of images or a share of them", code="invalid_spec"),
    run("--device gpu", "'gpu' is not a device", "write auto, cpu, cuda or cuda:N"),
    run("--device cuda:99", "--device cuda:99", "CUDA device"),
    run("--device cpu --devices cpu", "give one of the two"),
    run("--root {tmp}/nowhere", "--root", "nowhere: no such folder", "check the spelling"),
    run("--out s3://bucket/labels", "run writes to a local folder", "maskmill submit"),
    run("--out {tmp}/notes.txt", "notes.txt is a file", "name a folder"),
    run("--out /proc/labels", "/proc/labels has room for 0 MiB more", "free some, or name another folder"),
    run("--model ./nomodel", "no model folder './nomodel'", "check the path", code="model_unavailable"),
    run("--model dmo", "'dmo'", "did you mean 'demo'?", code="model_unavailable"),
    run("--model {empty}", "has no config.json", "save_pretrained", code="model_unusable"),
    run("--model {tmp}/notes.txt", "notes.txt' is a file, not a model", "name the folder", code="invalid_spec"),
    setting("MASKMILL_BROKER_URL", "http://host", "write redis://HOST:PORT"),
    setting("MASKMILL_BATCH_SIZE", "four", "a whole number", "'auto'"),
    setting("MASKMILL_SHARD_SIZE", "0", "at least 1"),
    setting("MASKMILL_S3", "{bad", "should be JSON"),
    setting("AWS_ENDPOINT_URL_S3", "localhost:9000", "write http://HOST:PORT"),
]

SERVED = [
    of(f"status {JOB}", JOB, "`maskmill status`", "output prefix", code="job_not_found"),
    of(
        "results {job}", "{job}", "output prefix", code="job_not_found", MASKMILL_PREFIX="other", MASKMILL_QUEUE="other"
    ),
    of("results {job} --download {tmp}/notes.txt", "notes.txt is a file", "name another"),
    of("results {job} --overlays", "--download DIR"),
    of("retry {job} --code timeuot", "did you mean 'timeout'?"),
    of("retry {job} --code timeout", "{job} has no such failures", "not_found"),
    of("retry {running}", "{running} has not ended", "wait for it"),
    of("cancel {job}", "{job} has ended", "nothing left to cancel"),
    of("delete {running}", "{running} has not ended", "`maskmill cancel {running}` first"),
    of("submit {empty} --model demo", "empty has no images", ".jpg", code="source"),
    of("submit {mixed} --strict --model demo", "--strict", "notes.md", "--all-files", code="source"),
    of("submit s3:// --model demo", "names no bucket", "s3://bucket/prefix/", code="source"),
    of("submit {photos} --out labels/2026", "'labels/2026'", "write s3://bucket/prefix"),
    of("submit {photos} --out s3://no-such/x", "no such bucket", "name another with --out", code="store_refused"),
    submit("the secret key is not", code="store_refused", AWS_SECRET_ACCESS_KEY="hunter2"),
    submit("no such access key", "AWS_ACCESS_KEY_ID", code="store_refused", AWS_ACCESS_KEY_ID="nobody"),
    submit("AWS_ENDPOINT_URL_S3", code="store_unavailable", AWS_ENDPOINT_URL_S3=f"http://{CLOSED}"),
    submit("password in MASKMILL_BROKER_URL", code="broker_refused", MASKMILL_BROKER_URL="{wrong}"),
    submit("does not speak the Redis protocol", code="broker_refused", MASKMILL_BROKER_URL="{store}"),
]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is not there is not there after five seconds either."""
    monkeypatch.setattr("maskmill.broker.connection.PATIENCE_SECONDS", 0.1)


def made_below(folder: Path) -> dict[str, str]:
    """What the mistakes name."""
    write_good(folder / "photos", 2)
    write_good(folder / "mixed", 1)
    (folder / "mixed" / "notes.md").write_text("no image")
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("no folder")
    (folder / "table.csv").write_text("label,size\ncat,3\n")
    return {"tmp": str(folder)} | {name: str(folder / name) for name in ("photos", "mixed", "empty")}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    return made_below(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """Servers that are not there yet."""
    return {"MASKMILL_STATE_DIR": str(tmp_path / "state")}


@dataclass(frozen=True)
class Served:
    """Servers, a job that has ended, one that nobody has begun, and addresses with a mistake in them."""

    environment: dict[str, str]
    names: dict[str, str]


@pytest.fixture(scope="module")
def served(servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One for all: mistakes change nothing."""
    settings, places = settings_of(servers), made_below(tmp_path_factory.mktemp("mistakes"))
    client = Client(settings)
    jobs = {
        "job": finished_job(client, ["a", "b"], failed=["b"]).id,
        "running": client.submit(places["photos"], model="demo").id,
        "wrong": re.sub(r":[^:@]*@", ":hunter2@", servers.broker_url),
        "store": servers.s3_endpoint_url.replace("http", "redis"),
    }
    return Served(environment_of(settings, servers), places | jobs)


def refusal(typed: str, variables: dict[str, str], code: str) -> str:
    """The one line that the command leaves. Nothing else is written, nothing is raised."""
    result = CliRunner().invoke(app, shlex.split(typed), env=variables)
    assert isinstance(result.exception, SystemExit), result.output
    assert (result.exit_code, result.stdout) == (EXITS.get(code, exit_codes.USAGE), ""), result.output
    [line] = result.stderr.splitlines()
    assert "hunter2" not in line
    return re.sub(r"probes/\w+", "probes/…", line)


def check(mistake: Mistake, places: dict[str, str], variables: dict[str, str]) -> None:
    typed = mistake.typed.format(**places)
    line = refusal(typed, variables, mistake.code)
    told = json.loads(refusal(f"{typed} --json", variables, mistake.code))
    assert told == {"error": mistake.code, "reason": line.removeprefix("error: ")}
    assert line.startswith("error: ")
    assert [word for word in mistake.words if word not in line] == [], line


@pytest.mark.parametrize("mistake", TYPED, ids=str)
def test_a_mistake_is_one_line_with_the_cure(
    mistake: Mistake, places: dict[str, str], state: dict[str, str], tmp_path: Path
) -> None:
    check(mistake, places, NOBODY | state | mistake.variables)
    assert not (tmp_path / "state").exists(), "servers were started"


@pytest.mark.parametrize("mistake", SERVED, ids=str)
def test_a_mistake_with_a_job_or_a_server_is_one_line_with_the_cure(mistake: Mistake, served: Served) -> None:
    variables = {name: text.format(**served.names) for name, text in mistake.variables.items()}
    words = tuple(word.format(**served.names) for word in mistake.words)
    check(replace(mistake, words=words), served.names, served.environment | variables)


def test_results_of_a_job_that_runs_are_those_so_far(served: Served) -> None:
    result = CliRunner().invoke(app, ["results", served.names["running"]], env=served.environment)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "the job still runs: 0 of 2 images have ended so far\n"


def test_a_question_that_nobody_answers_is_a_mistake_too(state: dict[str, str]) -> None:
    asked, told = (CliRunner().invoke(app, ["servers", "purge", *more], env=state) for more in ([], ["--json"]))
    assert (asked.exit_code, told.exit_code) == (exit_codes.USAGE, exit_codes.USAGE)
    assert asked.stderr.splitlines()[-1] == "error: nothing was deleted; where nobody is there to answer, say --yes"
    assert json.loads(told.stderr) == {"error": USAGE, "reason": "with --json, say --yes: nobody is asked"}


def test_two_runs_at_once_into_one_folder_hear_of_each_other(
    places: dict[str, str], state: dict[str, str], tmp_path: Path
) -> None:
    with sole_run(tmp_path / "out"):
        check(run("", f"another maskmill is writing to {tmp_path / 'out'}", "wait for it"), places, state)


def test_a_wrong_option_of_a_worker_is_one_line_too() -> None:
    typed = [f"{MASKMILL}-worker", "--divice", "cpu"]
    said = subprocess.run(typed, capture_output=True, text=True, timeout=600)
    assert (said.returncode, said.stdout) == (exit_codes.USAGE, "")
    assert said.stderr == "error: no such option: --divice; did you mean '--device'? (see: maskmill-worker -h)\n"


FULL_DISK = 'mkdir "$0" && mount -t tmpfs -o size=20m tmpfs "$0" && head -c 5M /dev/zero > "$0/fill" && exec "$@"'


def test_a_full_disk_is_said_before_anything_starts(
    places: dict[str, str], state: dict[str, str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    typed = (MASKMILL, "run", places["photos"], "--model", "demo", "--out", str(disk / "out"))
    command = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, str(disk), *typed)
    said = subprocess.run(command, env=os.environ | state, capture_output=True, text=True, timeout=600)
    assert (said.returncode, said.stdout) == (exit_codes.USAGE, "")
    assert said.stderr == f"error: {disk / 'out'} has room for 15 MiB more: free some, or name another folder\n"
    assert not (tmp_path / "state").exists(), "servers were started"


def test_a_run_whose_broker_has_ended_says_so_and_goes_no_further(
    places: dict[str, str], state: dict[str, str], tmp_path: Path
) -> None:
    """As on a disk that fills up meanwhile: Valkey ends when it cannot write."""
    typed = (MASKMILL, "run", places["photos"], "--model", "demo", "--out", str(tmp_path / "out"))
    process = subprocess.Popen(typed, env=os.environ | state, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert any(line.startswith("submitted job") for line in process.stderr)
    broker, _ = embedded.status(tmp_path / "state").servers
    assert (broker.name, bool(broker.pid)) == ("broker", True)
    os.kill(broker.pid or 0, signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    [line] = [each for each in said.splitlines() if each.startswith("error: ")]
    assert process.returncode == exit_codes.UNAVAILABLE
    assert line.startswith("error: the embedded broker has ended: its log may say why; then run the same again")
    assert not embedded.status(tmp_path / "state").running
