from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from maskmill import exit_codes
from maskmill.child_process import Backoff, ChildFailed, ChildProcess, Ended, how_it_ended
from tests.conftest import wait_for

QUICK = Backoff(first_seconds=0.01)
StartChild = Callable[..., ChildProcess]


@pytest.fixture
def child_of() -> Iterator[StartChild]:
    """Makes children that run a Python program; they are gone when the test ends."""
    made: list[ChildProcess] = []

    def make(program: str, backoff: Backoff = QUICK, log: Path | None = None) -> ChildProcess:
        made.append(ChildProcess([sys.executable, "-c", program], os.environ, backoff, log))
        return made[-1]

    yield make
    for child in made:
        child.kill()


def until_it_ends(child: ChildProcess) -> Ended:
    while not (ended := child.watch()):
        time.sleep(0.01)
    return ended


def test_the_wait_doubles_up_to_a_minute() -> None:
    assert [Backoff().delay_seconds(ends) for ends in range(9)] == [1, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_long_life_resets_the_count() -> None:
    assert Backoff().quick_ends(3, lived_seconds=59.9) == 4
    assert Backoff().quick_ends(3, lived_seconds=60.0) == 0


def test_ends_are_said_in_words() -> None:
    assert how_it_ended(3) == "exit code 3"
    assert how_it_ended(-signal.SIGKILL) == "signal SIGKILL"
    assert how_it_ended(-250) == "signal 250"


def test_it_is_there_from_the_first_look_in_a_session_of_its_own(child_of: StartChild) -> None:
    child = child_of("import time; time.sleep(600)")
    assert (child.pid, child.runs()) == (None, False)

    assert child.watch() is None

    assert child.pid
    assert child.runs()
    assert os.getsid(child.pid) == child.pid
    assert psutil.Process(child.pid).cmdline()[-1] == f"--with-parent={os.getpid()}"


def test_an_end_is_told_once_and_the_next_start_waits(child_of: StartChild) -> None:
    child = child_of("raise SystemExit(9)", Backoff(first_seconds=50))

    ended = until_it_ends(child)

    assert (ended.code, ended.how, ended.restart_seconds) == (9, "exit code 9", 50)
    assert child.watch() is None
    assert (child.pid, child.runs(), child.terminate(), child.kill()) == (None, False, False, False)


def test_it_is_started_again_until_it_ended_too_often_in_a_row(child_of: StartChild, tmp_path: Path) -> None:
    child = child_of(f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(9)")

    told = [until_it_ends(child).restart_seconds for _ in range(4)]
    with pytest.raises(ChildFailed, match="exit code 9") as failed:
        until_it_ends(child)

    assert told == [0.01, 0.02, 0.04, 0.08]

    assert (failed.value.exit_code, failed.value.ends) == (9, 5)
    assert (tmp_path / "starts").read_text() == "x" * 5


def test_ends_after_a_steady_life_are_forgiven(child_of: StartChild) -> None:
    child = child_of("raise SystemExit(9)", Backoff(first_seconds=0.01, steady_seconds=0.0, max_ends=2))
    assert [until_it_ends(child).code for _ in range(3)] == [9, 9, 9]


@pytest.mark.parametrize("code", [exit_codes.USAGE, exit_codes.MODEL])
def test_what_another_start_cannot_change_fails_at_once(code: int, child_of: StartChild) -> None:
    with pytest.raises(ChildFailed) as failed:
        until_it_ends(child_of(f"raise SystemExit({code})"))
    assert failed.value.exit_code == code


def test_what_it_says_is_appended_to_its_log(child_of: StartChild, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    child = child_of("import sys; print('out'); print('err', file=sys.stderr)", log=tmp_path / "log")

    until_it_ends(child)

    assert sorted((tmp_path / "log").read_text().split()) == ["before", "err", "out"]


def test_it_is_terminated_and_killed_only_if_that_takes_too_long(child_of: StartChild, tmp_path: Path) -> None:
    program = "import signal, time, pathlib; signal.signal(15, {}); pathlib.Path({!r}).touch(); time.sleep(600)"
    obeys = child_of(program.format("lambda *_: exit(7)", str(tmp_path / "a")))
    does_not = child_of(program.format("signal.SIG_IGN", str(tmp_path / "b")))
    for child in (obeys, does_not):
        child.watch()
    processes = [psutil.Process(child.pid) for child in (obeys, does_not)]
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, lambda: list(tmp_path.iterdir()))

    obeys.stop(60)
    does_not.stop(0.2)

    assert not psutil.wait_procs(processes, timeout=120)[1]
    assert until_it_ends(obeys).code == 7
    assert until_it_ends(does_not).code == -signal.SIGKILL


def test_it_is_told_to_end_once_however_often_one_asks(child_of: StartChild, tmp_path: Path) -> None:
    heard, ready = tmp_path / "heard", tmp_path / "ready"
    drains = (
        "import pathlib, signal, sys, time\n"
        f"heard = pathlib.Path({str(heard)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: heard.open('a').write('x'))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "while not heard.exists(): time.sleep(0.01)\n"
        "time.sleep(1)\n"
    )
    child = child_of(drains)
    child.watch()
    wait_for(ready.exists, lambda: "the child is not ready")

    child.terminate()
    wait_for(heard.exists, lambda: "the child has not heard")
    child.stop(60)

    assert heard.read_text() == "x"
