"""A benchmark that fails, dies or runs too long ends no other; quick runs and kept results stay apart."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks import apart
from benchmarks.result import Comparison, Kept, Result
from benchmarks.scale import QUICK, Extent
from benchmarks.table import write_table

STARTS_A_STUBBORN_ONE = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[1]).with_suffix(".asked").touch())
stubborn = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
Path(sys.argv[1]).with_suffix(".draft").write_text(str(stubborn.pid))
Path(sys.argv[1]).with_suffix(".draft").rename(sys.argv[1])
"""


SLEEPS = """
while True:
    time.sleep(600)
"""


def found(letter: str, **more: object) -> Kept:
    result = Result(figures=[], comparisons=[Comparison(name="speed", value=3.0, bar=2.0)])
    values = {"title": f"Title {letter}", "command": "c", "date": "d", "seconds": 1.0, "machine": {}, "result": result}
    return Kept.model_validate({"letter": letter, **values, **more})


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folders for results, full and quick, below a temporary one."""
    monkeypatch.delenv(QUICK, raising=False)
    for name in ("full", "quick"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(command, "RESULTS", Extent(tmp_path / "full", tmp_path / "quick"))
    monkeypatch.setattr(command, "TABLE", Extent(tmp_path / "full" / "table.md", tmp_path / "quick" / "table.md"))
    return tmp_path


def test_one_that_fails_ends_no_other_and_says_so_in_its_row(run_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(letter: str, limit: float) -> Kept:
        return found(letter, result=None, failed="ValueError: a | b") if letter == "A" else found(letter)

    monkeypatch.setattr(command, "measured_apart", measured)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "a", "b"])
    with pytest.raises(SystemExit, match="did not run: A"):
        command.main()
    table = (run_of / "full" / "table.md").read_text()
    assert "| A. Title A | did not run: ValueError: a \\| b | – | **no** |" in table
    assert "| B. speed | **3 ×** | ≥ 2 × | yes |" in table


def test_one_without_a_peer_has_a_row(tmp_path: Path) -> None:
    found("N", result=Result(figures=[], comparisons=[])).save(tmp_path)
    write_table(tmp_path, tmp_path / "table.md")
    assert "| N. Title N | no peer to compare with is here | – | – |" in (tmp_path / "table.md").read_text()


def test_what_was_measured_before_an_interruption_is_kept(run_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(letter: str, limit: float) -> Kept:
        if letter == "B":
            raise KeyboardInterrupt
        return found(letter)

    monkeypatch.setattr(command, "measured_apart", measured)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "A", "B"])
    with pytest.raises(KeyboardInterrupt):
        command.main()
    assert "A. speed" in (run_of / "full" / "table.md").read_text()
    assert (run_of / "full" / "A.json").exists()


def test_a_quick_run_says_so_and_leaves_the_results_alone(run_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found("A").save(run_of / "full")
    write_table(run_of / "full", run_of / "full" / "table.md")
    before = {path: path.read_bytes() for path in (run_of / "full").iterdir()}
    monkeypatch.setattr(command, "measured_apart", lambda letter, limit: apart.measured_here(letter))
    monkeypatch.setitem(sys.modules, "benchmarks.tried", tried(lambda: found("A").result))
    monkeypatch.setitem(apart.MODULES, "A", "tried")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "A"])
    monkeypatch.setenv(QUICK, "")  # so that it is taken back
    command.main()
    assert {path: path.read_bytes() for path in (run_of / "full").iterdir()} == before
    kept = Kept.model_validate_json((run_of / "quick" / "A.json").read_text())
    assert kept.reduced
    assert "--quick" in kept.command
    table = (run_of / "quick" / "table.md").read_text()
    assert table.startswith("# Benchmarks, reduced")
    assert "## A. What is tried (reduced)" in table


def tried(run: object) -> ModuleType:
    module = ModuleType("benchmarks.tried")
    module.__dict__.update(TITLE="What is tried", run=run)
    return module


def test_an_error_of_a_benchmark_is_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Result:
        raise RuntimeError("no shard,\nwith jobs open")

    monkeypatch.setitem(sys.modules, "benchmarks.tried", tried(fail))
    monkeypatch.setitem(apart.MODULES, "A", "tried")
    kept = apart.measured_here("A")
    assert kept.failed == "RuntimeError: no shard, with jobs open"
    assert kept.result is None


def test_a_benchmark_that_dies_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "run_within", lambda limit, command: "ended by SIGKILL")
    kept = apart.measured_apart("E", 5.0)
    assert (kept.failed, kept.title) == ("ended by SIGKILL", "Growth")


def test_one_that_runs_too_long_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit, started = 3600.0, tmp_path / "pid"

    class OutOfTime(subprocess.Popen[bytes]):
        """Its limit is over as soon as it has started what it starts."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout != limit:
                return super().wait(timeout)
            while not started.exists():
                time.sleep(0.01)
            raise subprocess.TimeoutExpired(self.args, limit)

    monkeypatch.setattr(apart.subprocess, "Popen", OutOfTime)
    monkeypatch.setattr(apart, "GRACE_SECONDS", 0.2)
    text = STARTS_A_STUBBORN_ONE + SLEEPS
    ended = apart.run_within(limit, [sys.executable, "-c", text, str(started)])
    assert ended == "ended after its limit of 3600 s; `--limit SECONDS` gives it more"
    assert not psutil.pid_exists(int(started.read_text()))


def test_a_second_interruption_ends_at_once_what_was_started(tmp_path: Path) -> None:
    """As Ctrl-C twice: the first ends the wait for the benchmark, the second the wait for its clean end."""
    started = tmp_path / "pid"
    runner = f"""
import signal, sys
from benchmarks import apart
signal.signal(signal.SIGTERM, signal.default_int_handler)
apart.run_within(3600.0, [sys.executable, "-c", {STARTS_A_STUBBORN_ONE + SLEEPS!r}, {str(started)!r}])
"""
    with subprocess.Popen([sys.executable, "-c", runner], stderr=subprocess.DEVNULL) as process:
        for happened in (started, started.with_suffix(".asked")):
            while not happened.exists():
                time.sleep(0.01)
            process.terminate()
    assert not psutil.pid_exists(int(started.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted by prctl(2)")
def test_what_a_dead_one_left_behind_ends_before_the_next(tmp_path: Path) -> None:
    text, started = STARTS_A_STUBBORN_ONE + "os.kill(os.getpid(), signal.SIGKILL)", tmp_path / "pid"
    assert apart.run_within(60.0, [sys.executable, "-c", text, str(started)]) == "ended by SIGKILL"
    assert not psutil.pid_exists(int(started.read_text()))
