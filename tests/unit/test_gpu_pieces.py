"""`python -m benchmarks gpu` where there is no GPU: its pieces keep what they find, within their time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu import device, run, tested
from benchmarks.gpu.run import PIECES, Piece, run_piece
from benchmarks.gpu.sheet import Sheet
from benchmarks.result import Comparison, Figure, Kept
from benchmarks.table import NOT_RUN, _on_a_gpu
from tests.conftest import wait_for

FIGURE = Figure(name="(a) the model alone", value=60.0, unit="images/s", settings="4 batches")


def sheet(folder: Path) -> Sheet:
    return Sheet(folder, "detr", "DETR", {"device": "a GPU"})


def kept(path: Path) -> Kept:
    return Kept.model_validate_json(path.read_text())


def test_every_piece_has_its_work() -> None:
    from benchmarks.gpu.pieces import WORK

    assert sorted(WORK) == sorted(piece.name for piece in PIECES)


def test_a_figure_is_kept_when_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "detr.json"
    written = sheet(tmp_path)
    written.add(FIGURE)
    assert kept(path).result.figures == [FIGURE]
    written.add(Comparison(name="ratio", value=0.9, bar=0.95), "A note.")
    found = kept(path)
    assert (found.result.figures, found.result.notes) == ([FIGURE], ["A note."])
    assert not found.result.comparisons[0].met
    assert found.machine["device"] == "a GPU"
    assert "What it found" in _on_a_gpu([found])


def test_the_page_says_that_nothing_has_run_on_a_gpu_while_nothing_has() -> None:
    assert NOT_RUN in _on_a_gpu([])


def test_a_piece_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LEAST_SECONDS", 0.0)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    script = f"{sys.executable} -c '{deaf}' & echo $! > {tmp_path / 'pid'}; wait"
    ended = run_piece(Piece("detr", "", 3.0), ["sh", "-c", script], time.monotonic() + 60)
    assert ended == "cut off after 3 s; what it had found is kept"
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not runs(pid), lambda: pid, 60)


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_piece_ends_as_it_does_and_is_not_begun_without_time(tmp_path: Path) -> None:
    later = time.monotonic() + 60
    assert run_piece(PIECES[0], ["true"], later).startswith("done in")
    assert run_piece(PIECES[0], ["false"], later) == "failed with exit code 1"
    assert run_piece(PIECES[0], ["touch", str(tmp_path / "begun")], time.monotonic() + 1).startswith("not begun")
    assert not (tmp_path / "begun").exists()


def test_without_a_device_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "count_cuda_devices", lambda: 0)
    assert run.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "--device cpu" in said
    assert not (tmp_path / "out").exists()


def test_tests_are_told_as_figures_failures_and_a_count(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    told = [
        {"figure": FIGURE.model_dump()},
        {"test": "test_a", "outcome": "passed", "reason": ""},
        {"test": "test_b", "outcome": "failed", "reason": "masks agree on 98%"},
    ]
    lines.write_text("".join(json.dumps(each) + "\n" for each in told))
    figure, failure, failures, count = tested._found(lines)
    assert figure == FIGURE
    assert failure == "failed: test_b: masks agree on 98%"
    assert isinstance(failures, Comparison)
    assert not failures.met
    assert count == "1 passed, 1 failed"


def test_the_device_s_share_of_time_is_that_from_its_first_to_its_last_work() -> None:
    assert device.Busy([0.0, 0.0, 100.0, 0.0, 50.0, 0.0]).share == 50.0
    assert device.Busy([0.0, 0.0]).share is None


def test_who_tells_of_the_device_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with device.busy("cuda") as found:
        pass
    assert found.samples == []
    assert device.compute_processes() is None


def test_the_command_tells_what_the_module_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` answers."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\ncase "$*" in *utilization*) echo 97;; *) echo "NVIDIA H100, 580.1, 81559";; esac\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert device.described("cuda") == {"device": "NVIDIA H100, 580.1, 81559"}
    with device.busy("cuda") as found:
        deadline = time.monotonic() + 60
        while not found.samples and time.monotonic() < deadline:
            time.sleep(0.05)
    assert found.share == 97.0
