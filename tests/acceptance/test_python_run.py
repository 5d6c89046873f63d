"""`maskmill.run` with real servers and a real worker: results, Ctrl-C, the program's end, a model that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import maskmill
from maskmill import Client
from maskmill.errors import ModelUnavailable
from maskmill.schema import JobState, Status
from maskmill.settings import S3Settings, Settings
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.conftest import hear_ctrl_c

MANY_IMAGES = 240

INTERRUPTED = """
import sys
from pathlib import Path
import maskmill
from PIL import Image

run = maskmill.run(map(Image.open, sorted(Path(sys.argv[1]).iterdir())), model="demo")
print(next(run).outcome.status, run.job.id, flush=True)
for result in run:
    pass
"""
LEFT_AT_THE_END = """
import sys
from pathlib import Path
import maskmill
from PIL import Image

run = maskmill.run(map(Image.open, sorted(Path(sys.argv[1]).iterdir())), model="demo")
print(next(run).outcome.status, flush=True)
"""


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of this test; whatever a test leaves running there is stopped."""
    folder = tmp_path / "state"
    monkeypatch.setenv("MASKMILL_STATE_DIR", str(folder))
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    yield folder
    embedded.stop(folder)


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def assert_nothing_runs(processes: list[psutil.Process], state_dir: Path) -> None:
    _, alive = psutil.wait_procs(processes, timeout=120)
    assert not alive
    assert not embedded.status(state_dir).running
    assert not list((state_dir / "users").iterdir())


@pytest.mark.slow
def test_ctrl_c_and_the_program_s_end_stop_all_and_leave_no_image(state_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_good(folder, MANY_IMAGES)
    process = start(INTERRUPTED, folder)
    assert process.stdout
    status, job = process.stdout.readline().split() or process.communicate()
    ours = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert (status, "KeyboardInterrupt" in errors) == (Status.STORED.value, True), errors
    assert len(ours) > 2
    assert_nothing_runs(ours, state_dir)

    process = start(LEFT_AT_THE_END, folder)
    assert process.stdout
    assert process.stdout.readline().strip() == Status.REUSED.value
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, output, errors) == (0, "", "")
    assert_nothing_runs([], state_dir)

    with embedded.running(state_dir) as servers:
        s3 = S3Settings(
            endpoint_url=servers.s3_endpoint_url,
            access_key_id=servers.access_key_id,
            secret_access_key=servers.secret_access_key,
            region=servers.region,
        )
        client = Client(Settings(broker_url=servers.broker_url, bucket=servers.bucket, prefix="", s3=s3))
        found = [item.key for item in client.services.store(client.settings.out).list("python/")]
        assert not [key for key in found if "/images/" in key]
        [manifest] = [key for key in found if f"{job}/manifest" in key]
        ended = client.job(job, f"{client.settings.out}/{manifest.partition('/jobs/')[0]}").manifest()
        assert ended
        assert ended.state is JobState.CANCELLED
        assert 0 < ended.counts.stored < MANY_IMAGES


def test_results_come_in_the_order_of_the_inputs_and_are_whole_after_the_run(state_dir: Path, tmp_path: Path) -> None:
    images = write_good(tmp_path / "photos", 20)
    before = dict(os.environ)
    given = [images[0].read_bytes(), images[0], tmp_path / "photos", b"no image", images[0].read_bytes()]

    results = list(maskmill.run(given, model="demo"))

    assert dict(os.environ) == before
    assert not embedded.status(state_dir).running
    assert [each.input for each in results] == [0, 1, *[2] * 20, 3, 4]
    assert [str(each.uri) for each in results[1:22]] == [str(each) for each in (images[0], *images)]
    assert [each.code for each in results if each.failed] == ["not_an_image"]
    whole = [each for each in results if not each.failed]
    assert all((each.segment_map.shape[1], each.segment_map.shape[0]) == size(each) for each in whole)
    assert len({each.segment_map.tobytes() for each in (results[0], results[1], results[2], results[-1])}) == 1
    assert not list(state_dir.glob("worker-*.log"))


def size(result: maskmill.Result) -> tuple[int | None, int | None]:
    return result.outcome.width, result.outcome.height


def test_a_model_that_is_not_there_raises_and_stops_all(state_dir: Path, tmp_path: Path) -> None:
    write_good(tmp_path, 1)
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelUnavailable, match="model"):
        list(maskmill.run(sorted(tmp_path.glob("*.jpg")), model=str(tmp_path / "model")))
    assert not embedded.status(state_dir).running
