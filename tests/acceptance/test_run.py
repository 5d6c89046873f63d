"""`maskmill run` as a person uses it: to the end, interrupted, killed, twice at once, and asked for the impossible."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PIL import Image
from pydantic import SecretStr

import maskmill_worker
from docs.reference.records import PRINTED
from maskmill import Settings
from maskmill.masks.segment_map import decode
from maskmill.settings import S3Settings
from maskmill.storage.store import Store
from maskmill_producer import embedded
from tests.acceptance.images import write_broken, write_good
from tests.conftest import hear_ctrl_c

RUN_SECONDS = 600
MANY_IMAGES = 240
"""More than a worker stores of what it has in hand, from its first committed shard to its end after Ctrl-C."""
MASKMILL = str(Path(sys.executable).parent / "maskmill")
EXIT_FAILURES, EXIT_USAGE, EXIT_MODEL, EXIT_INTERRUPTED = 4, 2, 3, 130


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder of this test; whatever a test leaves running there is stopped."""
    folder = tmp_path / "state"
    yield folder
    embedded.stop(folder)


@pytest.fixture
def environment(state_dir: Path) -> dict[str, str]:
    small = {"MASKMILL_STATE_DIR": str(state_dir), "MASKMILL_SHARD_SIZE": "5", "MASKMILL_LEASE_SECONDS": "5"}
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MASKMILL_", "AWS_"))}
    return ours | small


def maskmill(*arguments: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [MASKMILL, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS)


def start_run(folder: Path, out: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [MASKMILL, "run", str(folder), "--out", str(out), "--model", "demo", "--json"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c
    )


def wait_for_a_worker_with_work(state_dir: Path, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes of the run once its worker has committed a shard."""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        logs = [log.read_text() for log in state_dir.glob("worker-*.log")]
        if any("shard_committed" in log for log in logs):
            return psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.05)
    raise AssertionError("no shard was committed")


@contextmanager
def suspended(processes: list[psutil.Process]) -> Iterator[None]:
    """A worker, with its processes, that does nothing meanwhile: however busy the machine is, its job goes on after."""
    worker = next(each for each in processes if "maskmill-worker" in " ".join(each.cmdline()))
    stopped = [worker, *worker.children(recursive=True)]
    for each in stopped:
        each.suspend()
    try:
        yield
    finally:
        for each in stopped:
            each.resume()


def assert_nothing_left(processes: list[psutil.Process], state_dir: Path) -> None:
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive
    assert not embedded.status(state_dir).running


def test_a_run_leaves_masks_metadata_manifest_and_sheet_and_no_process(
    environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "pictures", 7)
    write_broken(tmp_path / "pictures")
    out = tmp_path / "pictures" / "out"
    (tmp_path / "pictures" / "notes.md").write_text("no image")
    (tmp_path / "pictures" / ".hidden.jpg").write_bytes(b"")
    write_good(out / "masks", 2)  # masks of the last run are no sources of this one

    where = ("--out", out, "--root", tmp_path)
    refused = maskmill("run", tmp_path / "pictures", *where, "--model", "demo", "--strict", environment=environment)
    result = maskmill("run", tmp_path / "pictures", *where, "--model", "demo", "--overlays", environment=environment)
    offline = {name: value for name, value in environment.items() if not name.startswith("MASKMILL_")}
    listed = maskmill("failures", out, "--json", environment=offline)
    status = maskmill("status", out, environment=offline)

    assert (refused.returncode, "1 not an image by its name" in refused.stderr) == (EXIT_USAGE, True), refused.stderr
    assert result.returncode == EXIT_FAILURES, result.stderr
    assert "16 submitted = 7 stored + 9 failed" in result.stdout
    assert "20 found = 16 submitted + 4 left out: 1 hidden" in result.stdout
    assert "left out" in result.stderr
    for image in images:
        ids, header = decode((out / "masks" / "pictures" / f"{image.name}.png").read_bytes())
        assert header.uri == str(image)
        assert set(range(1, int(ids.max()) + 1)) <= {segment.id for segment in header.segments}
    lines = (out / "metadata.jsonl").read_text().splitlines()
    assert {json.loads(line)["uri"] for line in lines} == {str(image) for image in images}
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert len(failures) == 9
    first_reasons = {failure["code"]: failure["reason"] for failure in reversed(failures)}
    assert all(reason[:20].rstrip() in result.stdout for reason in first_reasons.values())
    assert f"maskmill failures {out}" in result.stdout
    assert [json.loads(line)["uri"] for line in listed.stdout.splitlines()] == [each["uri"] for each in failures]
    assert (status.returncode, "16 submitted = 7 stored + 9 failed" in status.stdout) == (EXIT_FAILURES, True)
    drawn = {path.relative_to(out / "overlays" / "pictures").as_posix() for path in (out / "overlays").rglob("*.jpg")}
    assert drawn == {f"{image.name}.jpg" for image in images}
    demo = json.loads((Path(maskmill_worker.__file__).parent / "demo_model" / "config.json").read_text())
    classes = json.loads((out / "classes.json").read_text())
    assert classes["id2label"] == demo["id2label"]
    assert set(classes["colours"]) == set(demo["id2label"].values())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["found"] == manifest["submitted"] + sum(manifest["left_out"].values())
    assert manifest["counts"] == {"stored": 7, "reused": 0, "failed": 9, "cancelled": 0}
    assert f"report: {out / 'report' / 'index.html'}" in result.stdout
    assert json.loads((out / "report" / "report.json").read_text())["images"] == 16
    with Image.open(out / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 400
    assert not embedded.status(state_dir).running


def test_a_run_says_how_images_above_its_limit_are_allowed(environment: dict[str, str], tmp_path: Path) -> None:
    (image,) = write_good(tmp_path / "pictures", 1)
    with Image.open(image) as opened:
        pixels = opened.width * opened.height
    limited = ["run", image, "--out", tmp_path / "out", "--model", "demo", "--max-image-pixels"]
    refused = maskmill(*limited, pixels - 1, environment=environment)
    assert refused.returncode == EXIT_FAILURES, refused.stderr
    assert f"more than {pixels - 1:,} pixels" in refused.stdout
    assert "--max-image-pixels" in refused.stdout
    allowed = maskmill(*limited, pixels, environment=environment)
    assert allowed.returncode == 0, allowed.stderr


def test_a_run_reads_s3_sources_from_the_users_own_store(
    servers: embedded.Servers, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    [image] = write_good(tmp_path, 1)
    source = Store(f"s3://{servers.bucket}/{settings.prefix}", settings.s3)
    source.put("photo.jpg", image.read_bytes())
    theirs = {name: value for name, value in servers.environment().items() if name.startswith("AWS_")}

    result = maskmill(
        "run",
        f"{source.url}/",
        "--out",
        tmp_path / "out",
        "--model",
        "demo",
        "--json",
        environment=environment | theirs,
    )

    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document.keys() == PRINTED["run"].names
    assert document["counts"]["stored"] == 1
    key = f"masks/s3/{servers.bucket}/{settings.prefix}/photo.jpg.png"
    assert decode((tmp_path / "out" / key).read_bytes())[1].uri == f"{source.url}/photo.jpg"


def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(
    environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "pictures", MANY_IMAGES)
    first = start_run(tmp_path / "pictures", tmp_path / "out", environment)
    processes = wait_for_a_worker_with_work(state_dir, first)

    with suspended(processes):
        beside = maskmill(
            "run", tmp_path / "pictures", "--out", tmp_path / "out", "--model", "demo", environment=environment
        )
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=600)
    second = maskmill(
        "run", tmp_path / "pictures", "--out", tmp_path / "out", "--model", "demo", environment=environment
    )

    assert beside.returncode == EXIT_USAGE
    assert beside.stderr.splitlines()[-1].startswith(f"error: another maskmill is writing to {tmp_path / 'out'}: wait")
    assert first.returncode == EXIT_INTERRUPTED, said
    assert_nothing_left(processes, state_dir)
    assert second.returncode == 0, second.stderr
    assert "continuing job" in second.stderr
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == len(images)


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8, 1.5, 3.0])
def test_ctrl_c_in_the_first_seconds_is_one_line_and_leaves_nothing(
    seconds: float, environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    write_good(tmp_path / "pictures", 1)
    begun = "from maskmill_producer.entry import main; print('begun', flush=True); main()"
    arguments = ("run", str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--model", "demo")
    process = subprocess.Popen(
        [sys.executable, "-c", begun, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(seconds)  # no state to wait for: whatever it is at by then
    processes = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=RUN_SECONDS)

    assert process.returncode == EXIT_INTERRUPTED, said
    assert [line for line in said.splitlines() if "error" in line] == [said.splitlines()[-1]], said
    assert said.splitlines()[-1].startswith("error: stopped")
    assert_nothing_left(processes, state_dir)


def test_after_sigkill_of_a_run_the_next_one_clears_up_and_finishes(
    environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "pictures", MANY_IMAGES)
    first = start_run(tmp_path / "pictures", tmp_path / "out", environment)
    processes = wait_for_a_worker_with_work(state_dir, first)

    first.kill()
    first.communicate()
    second = maskmill(
        "run", tmp_path / "pictures", "--out", tmp_path / "out", "--model", "demo", environment=environment
    )

    assert second.returncode == 0, second.stderr
    assert "continuing job" in second.stderr
    assert f"{len(images)} submitted = {len(images)} stored" in second.stdout
    assert_nothing_left(processes, state_dir)


def test_a_run_with_two_workers_on_the_cpu(environment: dict[str, str], state_dir: Path, tmp_path: Path) -> None:
    images = write_good(tmp_path / "pictures", 20)
    two = ("--devices", "cpu", "--workers-per-device", "2")
    arguments = ("run", tmp_path / "pictures", "--out", tmp_path / "out", "--model", "demo", "--json")

    refused = maskmill(*arguments, "--device", "cpu", *two, environment=environment)
    result = maskmill(*arguments, *two, environment=environment)

    assert (refused.returncode, "give one of the two" in refused.stderr) == (EXIT_USAGE, True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["counts"]["stored"] == len(images)
    [log] = state_dir.glob("worker-*.log")
    assert "cpu0-2" in log.read_text()
    assert not embedded.status(state_dir).running


def test_two_runs_at_once_share_the_servers_and_keep_their_images_apart(
    environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    write_good(tmp_path / "one", 6)
    write_good(tmp_path / "two", 9, first_seed=6_000_000)

    runs = [start_run(tmp_path / name, tmp_path / f"out-{name}", environment) for name in ("one", "two")]
    answers = [run.communicate(timeout=RUN_SECONDS) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], answers
    assert [json.loads(out)["counts"]["stored"] for out, _ in answers] == [6, 9]
    for name, number in (("one", 6), ("two", 9)):
        assert len(list((tmp_path / f"out-{name}" / "masks").rglob("*.png"))) == number
    assert not embedded.status(state_dir).running


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_ways_on(
    environment: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    write_good(tmp_path / "pictures", 1)
    unreachable = environment | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}

    result = maskmill("run", tmp_path / "pictures", "--out", tmp_path / "out", environment=unreachable)

    assert result.returncode == EXIT_MODEL
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error")]
    for way in ("facebook/detr-resnet-50-panoptic", "--model demo", "HF_ENDPOINT"):
        assert way in line
    assert "Traceback" not in result.stdout + result.stderr
    assert not embedded.status(state_dir).running


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no/such/folder", "--model", "demo"], "no such"),
        ([".", "--model", "demo", "--threshold", "2"], "threshold"),
        ([".", "--model", "demo", "--device", "tpu"], "tpu"),
        ([".", "--model", "demo", "--framework", "pt"], "framework"),
        ([".", "--model", "demo", "--device", "cuda:7"], "CUDA"),
        (["-", "--model", "demo"], "list"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_cure(
    arguments: list[str], words: str, environment: dict[str, str], tmp_path: Path
) -> None:
    write_good(tmp_path, 1)
    result = subprocess.run(
        [MASKMILL, "run", *arguments, "--out", str(tmp_path / "out")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )

    assert result.returncode == EXIT_USAGE
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_bench_says_where_the_time_goes_and_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    write_good(tmp_path / "images", 34)
    answer = maskmill(
        "bench", tmp_path / "images", "--images", 32, "--model", "demo", "--json", environment=environment
    )
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document.keys() == PRINTED["bench"].names
    assert document["images"] == 16, "of two shards, the one that is committed first is left out"
    assert 0 < document["device_busy"] <= 1
    assert all(document["stages"][name]["seconds"] > 0 for name in ("fetch", "decode", "preprocess", "forward"))
    assert document["verdict"]
    assert not list(Path(environment["MASKMILL_STATE_DIR"]).glob("*"))


def test_the_next_run_takes_over_what_still_holds_and_one_copy_is_kept(
    environment: dict[str, str], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    images = write_good(pictures, 6)
    arguments = ("run", pictures, "--out", tmp_path / "out", "--model", "demo", "--json")

    first = maskmill(*arguments, environment=environment)
    images[0].unlink()
    [worker_log] = Path(environment["MASKMILL_STATE_DIR"]).glob("worker-*.log")
    begun = worker_log.read_text().count("worker_ready")
    second = maskmill(*arguments, environment=environment)
    begun_again = worker_log.read_text().count("worker_ready")
    third = maskmill(*arguments, "--threshold", "0.99", environment=environment)
    other = maskmill("run", tmp_path, "--out", tmp_path / "out", "--model", "demo", environment=environment)

    assert [run.returncode for run in (first, second, third)] == [0, 0, 0], first.stderr + second.stderr + third.stderr
    said = [json.loads(run.stdout) for run in (first, second, third)]
    assert [(each["counts"]["stored"], each["counts"]["reused"]) for each in said] == [(6, 0), (0, 5), (5, 0)]
    assert (begun, begun_again) == (1, 1)  # where every mask holds, there is nothing for a worker to do
    assert [(each["copied"], each["already_there"]) for each in said] == [(6, 0), (0, 5), (5, 0)]
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    masks = sorted(path for path in (tmp_path / "out").rglob("*.png") if path.parent != tmp_path / "out")
    assert masks == sorted(tmp_path / "out" / line["mask_key"] for line in lines)
    for line in lines:
        assert decode((tmp_path / "out" / line["mask_key"]).read_bytes())[1].fingerprint == line["fingerprint"]
    assert (other.returncode, "other sources" in other.stderr) == (EXIT_USAGE, True)
    with embedded.running(Path(environment["MASKMILL_STATE_DIR"])) as servers:
        s3 = S3Settings(
            endpoint_url=servers.s3_endpoint_url,
            access_key_id=servers.access_key_id,
            secret_access_key=SecretStr(servers.secret_access_key),
            region=servers.region,
        )
        kept = [item.key for item in Store(f"s3://{servers.bucket}", s3).list()]
    assert {key.split("/")[2] for key in kept if "/jobs/" in key} == {said[2]["job"]}
    assert sum("/masks/" in key for key in kept) == 5
