"""What `maskmill.run` starts is stopped, whichever way it ends; what cannot be is said before anything starts."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import maskmill
from maskmill.errors import InvalidSpec, SourceError
from maskmill.settings import Settings, load_settings
from maskmill_producer import embedded
from maskmill_producer.local import python_run
from maskmill_producer.local.python_run import Run
from maskmill_producer.local.session import Session


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ended a run, whose servers and worker are none here."""
    found: list[str] = []

    def results(_: object) -> Iterator[int]:
        try:
            yield from range(3)
            found.append("its last result")
        except BaseException as error:
            found.append(type(error).__name__)
            raise

    monkeypatch.setattr(python_run._Session, "results", results)
    monkeypatch.setattr(python_run, "worker_command", lambda: "maskmill-worker")
    return found


def begun(**options: Any) -> Run:
    run = maskmill.run(iter([]), **options)
    assert next(run) == 0
    return run


def test_it_ends_with_its_last_result(ended: list[str]) -> None:
    assert list(begun()) == [1, 2]
    assert ended == ["its last result"]


def test_it_ends_when_it_is_closed_also_twice(ended: list[str]) -> None:
    run = begun()
    run.close()
    run.close()
    assert ended == ["GeneratorExit"]
    assert list(run) == []


def test_it_ends_with_its_block(ended: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), begun():
        raise KeyboardInterrupt
    assert ended == ["GeneratorExit"]


def test_it_ends_when_nobody_holds_it(ended: list[str]) -> None:
    for _ in begun():
        break
    gc.collect()
    assert ended == ["GeneratorExit"]


def test_a_forked_process_leaves_it_alone(ended: list[str]) -> None:
    run = begun()
    pid = os.fork()
    if not pid:
        del run
        gc.collect()
        os._exit(len(ended))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(run) == [1, 2]


AT_EXIT = """
import maskmill
from maskmill_producer.local import python_run

def results(_):
    try:
        yield 0
    finally:
        print("stopped")

python_run._Session.results = results
python_run.worker_command = lambda: ""
run = maskmill.run(iter([]))
next(run)
"""


def test_it_ends_with_the_program() -> None:
    result = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=600)
    assert (result.stdout, result.stderr) == ("stopped\n", "")


@pytest.mark.parametrize(
    ("images", "options", "error"),
    [
        ("no/such/folder", {}, SourceError),
        (["cat.jpg"], {}, SourceError),
        ([], {}, SourceError),
        (7, {}, SourceError),
        (iter([]), {"threshold": 2.0}, InvalidSpec),
        (iter([]), {"treshold": 0.5}, InvalidSpec),
        (iter([]), {"model": __file__}, InvalidSpec),
    ],
)
def test_what_cannot_work_is_refused_at_the_call(
    ended: list[str], images: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        maskmill.run(images, **options)


def test_its_settings_are_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKMILL_QUEUE", "mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://mine")
    before = dict(os.environ)
    asked = python_run._Asked(["a.jpg"], "cpu", None, False, None, {"model": "demo"})
    servers = embedded.Servers("redis://127.0.0.1:1/0", "http://ours", "key", "secret", "region", "bucket", tmp_path)

    def settings() -> Settings:
        return Session(servers, [], asked.fields(load_settings())).client.settings

    assert settings().queue.startswith("python-")
    assert (settings().s3.endpoint_url, settings().source_s3.endpoint_url) == ("http://ours", "http://mine")
    assert (settings().shard_size, load_settings().shard_size) == (python_run.SHARD_SIZE, 128)
    monkeypatch.setenv("MASKMILL_SHARD_SIZE", "5")
    assert settings().shard_size == 5
    del os.environ["MASKMILL_SHARD_SIZE"]
    assert dict(os.environ) == before


def test_it_says_what_it_is(ended: list[str]) -> None:
    run = begun()
    assert repr(run) == "<maskmill.run: not begun>"
    assert run.job is None
