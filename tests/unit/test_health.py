from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from maskmill_worker.process.health import (
    FORGET_SECONDS,
    LOST_SECONDS,
    HealthFile,
    Sign,
    run_folder,
    signs_of_life,
    workers,
)


def only_file(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def make_older(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(Sign.model_validate_json(path.read_text()).model_copy(update=changes).model_dump_json())


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_is_seen_while_it_runs_and_not_after(tmp_path: Path) -> None:
    with signs_of_life(HealthFile("gpu0@host", "q", tmp_path / "run")):
        [seen] = workers("q", tmp_path / "run")
    assert (seen.node, seen.pid, seen.alive, seen.reason) == ("gpu0@host", os.getpid(), True, "alive")
    assert workers("q", tmp_path / "run") == []


def test_the_file_is_kept_fresh(tmp_path: Path) -> None:
    with signs_of_life(HealthFile("gpu0@host", "q", tmp_path), beat_seconds=0.02):
        make_older(only_file(tmp_path), 50)
        deadline = time.monotonic() + 20
        while workers("q", tmp_path)[0].seen_seconds_ago > 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_workers_of_other_queues_do_not_count(tmp_path: Path) -> None:
    HealthFile("gpu0@host", "one", tmp_path).touch()
    HealthFile("gpu0@host", "two/../three", tmp_path).touch()

    assert [seen.alive for seen in workers("one", tmp_path)] == [True]
    assert [seen.alive for seen in workers("two/../three", tmp_path)] == [True]
    assert workers("three", tmp_path) == []


def test_a_process_that_ended_without_taking_its_file_away_is_dead(tmp_path: Path, ended_pid: int) -> None:
    HealthFile("gpu0@host", "q", tmp_path).touch()
    rewrite(only_file(tmp_path), pid=ended_pid)

    [seen] = workers("q", tmp_path)
    assert not seen.alive
    assert "ended" in seen.reason


def test_another_process_of_the_same_id_is_not_the_worker(tmp_path: Path) -> None:
    HealthFile("gpu0@host", "q", tmp_path).touch()
    rewrite(only_file(tmp_path), started=psutil.Process().create_time() - 100)

    assert [seen.alive for seen in workers("q", tmp_path)] == [False]


def test_a_process_that_gives_no_sign_is_dead(tmp_path: Path) -> None:
    HealthFile("gpu0@host", "q", tmp_path).touch()
    make_older(only_file(tmp_path), LOST_SECONDS + 1)

    [seen] = workers("q", tmp_path)
    assert not seen.alive
    assert "hangs" in seen.reason


def test_a_new_worker_of_the_same_name_takes_the_dead_one_s_place(tmp_path: Path, ended_pid: int) -> None:
    HealthFile("gpu0@host", "q", tmp_path).touch()
    rewrite(only_file(tmp_path), pid=ended_pid)

    with signs_of_life(HealthFile("gpu0@host", "q", tmp_path)):
        assert [seen.alive for seen in workers("q", tmp_path)] == [True]


def test_a_dead_worker_is_forgotten_after_an_hour(tmp_path: Path, ended_pid: int) -> None:
    HealthFile("gpu0@host", "q", tmp_path).touch()
    rewrite(only_file(tmp_path), pid=ended_pid)
    make_older(only_file(tmp_path), FORGET_SECONDS + 1)

    assert workers("another", tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_leaves_does_not_take_its_successor_s_file_away(tmp_path: Path, ended_pid: int) -> None:
    with signs_of_life(HealthFile("gpu0@host", "q", tmp_path)):
        rewrite(only_file(tmp_path), pid=ended_pid)
    assert only_file(tmp_path).exists()


def test_files_that_are_no_worker_s_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    assert workers("q", tmp_path) == []
    assert workers("q", tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_stops_no_worker(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with signs_of_life(HealthFile("gpu0@host", "q", tmp_path / "file" / "run")):
        pass


def test_somebody_else_s_folder_among_the_temporary_files_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    run_folder(None).symlink_to(tmp_path / "elsewhere")

    HealthFile("gpu0@host", "q", None).touch()

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stopped_process_still_counts_until_its_sign_is_old(tmp_path: Path) -> None:
    program = "import os, sys; from pathlib import Path; from maskmill_worker.process.health import HealthFile\n"
    program += f"HealthFile('gpu0@host', 'q', Path({str(tmp_path)!r})).touch(); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        fresh = workers("q", tmp_path)
        make_older(only_file(tmp_path), LOST_SECONDS + 1)
        old = workers("q", tmp_path)
    finally:
        process.kill()
        process.wait()

    assert [seen.alive for seen in fresh + old] == [True, False]
