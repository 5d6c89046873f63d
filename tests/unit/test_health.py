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
    Heartbeat,
    HeartbeatFile,
    State,
    heartbeats,
    run_folder,
    workers,
)


def only_file(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def make_older(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(Heartbeat.model_validate_json(path.read_text()).model_copy(update=changes).model_dump_json())


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_is_seen_while_it_runs_and_not_after(tmp_path: Path) -> None:
    with heartbeats(HeartbeatFile("gpu0@host", "q", tmp_path / "run")):
        [seen] = workers("q", tmp_path / "run")
    assert (seen.node, seen.pid, seen.alive, seen.reason) == ("gpu0@host", os.getpid(), True, "alive")
    assert workers("q", tmp_path / "run") == []


def test_the_file_is_kept_fresh(tmp_path: Path) -> None:
    with heartbeats(HeartbeatFile("gpu0@host", "q", tmp_path), beat_seconds=0.02):
        make_older(only_file(tmp_path), 50)
        deadline = time.monotonic() + 300
        while workers("q", tmp_path)[0].seen_seconds_ago > 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_workers_of_other_queues_do_not_count(tmp_path: Path) -> None:
    HeartbeatFile("gpu0@host", "one", tmp_path).write()
    HeartbeatFile("gpu0@host", "two/../three", tmp_path).write()

    assert [seen.alive for seen in workers("one", tmp_path)] == [True]
    assert [seen.alive for seen in workers("two/../three", tmp_path)] == [True]
    assert workers("three", tmp_path) == []


def test_a_process_that_ended_without_taking_its_file_away_is_dead(tmp_path: Path, ended_pid: int) -> None:
    HeartbeatFile("gpu0@host", "q", tmp_path).write()
    rewrite(only_file(tmp_path), pid=ended_pid)

    [seen] = workers("q", tmp_path)
    assert not seen.alive
    assert "ended" in seen.reason


def test_another_process_of_the_same_id_is_not_the_worker(tmp_path: Path) -> None:
    HeartbeatFile("gpu0@host", "q", tmp_path).write()
    rewrite(only_file(tmp_path), started=psutil.Process().create_time() - 100)

    assert [seen.alive for seen in workers("q", tmp_path)] == [False]


def test_a_process_that_gives_no_sign_is_dead(tmp_path: Path) -> None:
    HeartbeatFile("gpu0@host", "q", tmp_path).write()
    make_older(only_file(tmp_path), LOST_SECONDS + 1)

    [seen] = workers("q", tmp_path)
    assert not seen.alive
    assert "hangs" in seen.reason


def test_a_new_worker_of_the_same_name_takes_the_dead_one_s_place(tmp_path: Path, ended_pid: int) -> None:
    HeartbeatFile("gpu0@host", "q", tmp_path).write()
    rewrite(only_file(tmp_path), pid=ended_pid)

    with heartbeats(HeartbeatFile("gpu0@host", "q", tmp_path)):
        assert [seen.alive for seen in workers("q", tmp_path)] == [True]


def test_a_dead_worker_is_forgotten_after_an_hour(tmp_path: Path, ended_pid: int) -> None:
    HeartbeatFile("gpu0@host", "q", tmp_path).write()
    rewrite(only_file(tmp_path), pid=ended_pid)
    make_older(only_file(tmp_path), FORGET_SECONDS + 1)

    assert workers("another", tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_leaves_does_not_take_its_successor_s_file_away(tmp_path: Path, ended_pid: int) -> None:
    with heartbeats(HeartbeatFile("gpu0@host", "q", tmp_path)):
        rewrite(only_file(tmp_path), pid=ended_pid)
    assert only_file(tmp_path).exists()


def test_files_that_are_no_worker_s_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    assert workers("q", tmp_path) == []
    assert workers("q", tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_stops_no_worker(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with heartbeats(HeartbeatFile("gpu0@host", "q", tmp_path / "file" / "run")):
        pass


def test_somebody_else_s_folder_among_the_temporary_files_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    run_folder(None).symlink_to(tmp_path / "elsewhere")

    HeartbeatFile("gpu0@host", "q", None).write()

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stopped_process_still_counts_until_its_sign_is_old(tmp_path: Path) -> None:
    program = "import os, sys; from pathlib import Path; from maskmill_worker.process.health import HeartbeatFile\n"
    program += f"HeartbeatFile('gpu0@host', 'q', Path({str(tmp_path)!r})).write(); print(flush=True); sys.stdin.read()"
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


def test_what_a_worker_does_and_since_when_is_shown(tmp_path: Path) -> None:
    file = HeartbeatFile("gpu0@host", "q", tmp_path)
    file.write()
    [starting] = workers("q", tmp_path)
    assert file.change(State.WORKING) is State.STARTING
    rewrite(only_file(tmp_path), since=time.time() - 90)
    [working] = workers("q", tmp_path)

    assert (starting.state, starting.alive) == (State.STARTING, True)
    assert (working.state, working.alive) == (State.WORKING, True)
    assert 90 <= working.state_seconds < 120


def test_doing_the_same_is_no_change(tmp_path: Path) -> None:
    file = HeartbeatFile("gpu0@host", "q", tmp_path)
    assert [file.change(state) for state in (State.IDLE, State.IDLE, State.DEAF)] == [State.STARTING, None, State.IDLE]


def test_a_deaf_worker_is_not_alive_until_it_hears(tmp_path: Path) -> None:
    file = HeartbeatFile("gpu0@host", "q", tmp_path)
    file.change(State.DEAF)
    [deaf] = workers("q", tmp_path)
    file.change(State.IDLE)
    [idle] = workers("q", tmp_path)

    assert (deaf.alive, idle.alive) == (False, True)
    assert "takes no message" in deaf.reason
