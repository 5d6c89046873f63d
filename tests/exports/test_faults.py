"""Exports that meet a fault: what is wrong is one line, nothing is lost, and the same command goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maskmill import Client, Job
from maskmill.errors import StoreUnavailable
from maskmill_producer import embedded
from tests.conftest import environment_of, settings_of, wait_for
from tests.exports.scenes import SCENES, Scene, made_job
from tests.integration.finished_jobs import submitted_job

MASKMILL = str(Path(sys.executable).parent / "maskmill")
SMALL = {f"{n:03d}.jpg": SCENES["a/small.png"] for n in range(160)}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(servers: embedded.Servers) -> dict[str, str]:
    return environment_of(settings_of(servers, shard_size=2), servers)


@pytest.fixture(scope="module")
def client(environment: dict[str, str], servers: embedded.Servers) -> Client:
    names = {"queue": environment["MASKMILL_QUEUE"], "prefix": environment["MASKMILL_PREFIX"]}
    return Client(settings_of(servers, shard_size=2, **names))


@pytest.fixture(scope="module")
def long_job(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """80 shards of two small images."""
    return made_job(client, tmp_path_factory.mktemp("small").resolve(), SMALL)


@pytest.fixture
def maskmill(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [MASKMILL, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


def test_masks_that_cannot_be_read_cost_themselves_and_come_when_they_are_there(
    client: Client, maskmill: Run, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    job = made_job(client, (tmp_path / "images").resolve(), {name: SMALL[name] for name in list(SMALL)[:7]})
    outcomes = {Path(each.uri).name: each for each in job.outcomes()}
    lost, torn = (outcomes[name].mask_key or "" for name in ("002.jpg", "004.jpg"))
    whole = {key: job.store.get(key) for key in (lost, torn)}
    job.store.delete(lost)
    job.store.put(torn, whole[torn][:-20])

    first = maskmill("export", job.id, "-f", "coco-instances", "--out", "coco")
    account = json.loads((tmp_path / "coco" / "export.json").read_text())
    named = [json.loads(line) for line in (tmp_path / "coco" / "not-exported.jsonl").read_text().splitlines()]
    assert first.returncode == 4, first.stderr
    assert "2 images not exported, named in coco/not-exported.jsonl" in first.stdout
    assert (account["images"], account["not_exported"]) == (5, 2)
    assert [(Path(each["uri"]).name, each["code"]) for each in named] == [
        ("002.jpg", "object_not_found"),
        ("004.jpg", "invalid_record"),
    ]

    for key, png in whole.items():
        job.store.put(key, png)
    second = maskmill("export", job.id, "-f", "coco-instances", "--out", "coco")
    maskmill("export", job.id, "-f", "coco-instances", "--out", "fresh")
    assert second.returncode == 0, second.stderr
    for name in ("annotations.json", "export.json"):
        assert (tmp_path / "coco" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "coco").iterdir()) == ["annotations.json", "export.json"]


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_export_goes_on_where_it_was(
    long_job: Job, environment: dict[str, str], maskmill: Run, tmp_path: Path, way: signal.Signals
) -> None:
    command = [MASKMILL, "export", long_job.id, "-f", "coco-instances", "--out", "coco"]
    work = tmp_path / "coco" / ".export"
    child = subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: len(list(work.glob("0*/counts.json"))) > 4, lambda: list(work.glob("*")))
    child.send_signal(way)
    _, errors = child.communicate(timeout=60)
    done = {path.parent.name: path.stat().st_mtime_ns for path in work.glob("0*/counts.json")}
    assert 4 < len(done) < long_job.record().shards
    if way is signal.SIGINT:
        assert (child.returncode, errors.strip().splitlines()[-1]) == (
            130,
            "error: stopped; the same command goes on where this one was",
        )
    other = maskmill("export", long_job.id, "-f", "masks", "--out", "coco")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "holds another export that was not finished" in other.stderr
    kept = min(done)
    first = [each.mask_key or "" for each in long_job.outcomes()][2 * int(kept)]
    png = long_job.store.get(first)
    long_job.store.delete(first)  # of a shard that is done: nobody may ask for it again
    try:
        again = maskmill("export", long_job.id, "-f", "coco-instances", "--out", "coco")
    finally:
        long_job.store.put(first, png)
    fresh = maskmill("export", long_job.id, "-f", "coco-instances", "--out", "fresh")
    assert (again.returncode, fresh.returncode) == (0, 0), again.stderr
    assert (tmp_path / "coco/annotations.json").read_bytes() == (tmp_path / "fresh/annotations.json").read_bytes()
    assert not work.exists()


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[tuple[embedded.Servers, Path]]:
    state = tmp_path / "servers"
    with embedded.running(state) as running:
        yield running, state
    embedded.stop(state)


def test_a_store_that_goes_in_the_middle_is_named_and_the_export_goes_on_when_it_is_back(
    own_servers: tuple[embedded.Servers, Path], tmp_path: Path
) -> None:
    servers, state = own_servers
    (tmp_path / "images").mkdir()
    scenes = {name: SMALL[name] for name in list(SMALL)[:30]}
    job = made_job(Client(settings_of(servers, shard_size=2)), (tmp_path / "images").resolve(), scenes)

    def stop(done: int, _: int) -> None:
        if done >= 2:
            embedded.stop(state)

    with pytest.raises(StoreUnavailable):
        job.export("coco-instances", tmp_path / "out", processes=1, on_progress=stop)
    assert not (tmp_path / "out" / "export.json").exists()
    embedded.start(state)
    account = job.export("coco-instances", tmp_path / "out")
    assert (account.images, account.not_exported) == (30, 0)


def test_a_full_disk_is_named_and_the_export_goes_on_elsewhere(
    long_job: Job, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    export = f"{MASKMILL} export {long_job.id} -f masks --out disk/masks"
    mounted = f"mount -t tmpfs -o size=256k tmpfs disk && {export}; code=$?; umount disk; exit $code"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted]
    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2, found.stderr
    assert found.stderr.strip() == (
        "error: cannot write to disk/masks: No space left on device; the same command goes on once that is mended"
    )


def test_jobs_that_cannot_be_exported_are_told_in_one_line(client: Client, maskmill: Run, long_job: Job) -> None:
    running = submitted_job(client, ["a"])
    for job, options, says in [
        (running.id, (), f"job {running.id} has not ended: wait with `maskmill watch {running.id}`"),
        ("20200101-000000-00000000", (), "give its output prefix"),
        (long_job.id, ("--labels", "crocodile"), "--labels: the job has no label 'crocodile'"),
        (long_job.id, ("--polygons", "-f", "masks"), "--polygons means nothing to masks"),
        (long_job.id, ("-f", "coco"), "there is no format 'coco'"),
        (long_job.id, ("--out", "gs://bucket/x"), "an export goes to a folder or to s3://bucket/prefix"),
    ]:
        found = maskmill("export", job, "-f", "coco-instances", "--out", "out", *options)
        assert (found.returncode, found.stderr.count("\n")) == (2, 1), found.stderr
        assert says in found.stderr
        as_json = maskmill("export", job, "-f", "coco-instances", "--out", "out", *options, "--json")
        assert says in json.loads(as_json.stderr)["reason"]


def test_two_exports_to_one_place_at_once_are_one_too_many(job: Job, tmp_path: Path) -> None:
    def again(*_: int) -> None:
        with pytest.raises(Exception, match="another maskmill is exporting to"):
            job.export("coco-instances", tmp_path, processes=1)

    job.export("coco-instances", tmp_path, processes=1, on_progress=again)


def test_json_has_the_account(maskmill: Run, long_job: Job) -> None:
    found = json.loads(maskmill("export", long_job.id, "-f", "masks", "--out", "out [x]", "--json").stdout)
    assert (found["out"], found["images"], found["without_mask"]) == ("out [x]", len(SMALL), {"failed": 1})


def test_hostile_labels_and_names_stay_below_the_folder(client: Client, tmp_path: Path) -> None:
    scenes = {"-rf a/~b$ [x].jpg": Scene(np.ones((4, 4), np.uint8), {1: (4, 0.9)})}
    (tmp_path / "images").mkdir()
    job = made_job(client, (tmp_path / "images").resolve(), scenes)
    job.export("masks", tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".png", ".jsonl", ".json"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]
