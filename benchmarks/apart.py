"""One benchmark in a process of its own: it inherits nobody's memory, threads or caches, and fails alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import psutil

from benchmarks.machine import machine
from benchmarks.result import Kept, Result
from benchmarks.scale import is_quick
from maskmill.errors import one_line

HERE = Path(__file__).parent
MODULES = {path.stem[0].upper(): path.stem for path in sorted(HERE.glob("[a-o]_*.py"))}
GRACE_SECONDS = 30.0
"""For a benchmark to stop its servers and workers."""

PR_SET_CHILD_SUBREAPER = 36


def measured_apart(letter: str, limit_seconds: float) -> Kept:
    """Run it in a process; what it kept, or that it ran too long or died."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ended = run_within(limit_seconds, [sys.executable, "-m", "benchmarks", letter, "--in-process", folder])
        kept = Path(folder) / f"{letter}.json"
        if kept.exists():
            return Kept.model_validate_json(kept.read_text(encoding="utf-8"))
    return _kept(letter, started, failed=ended)


def measured_here(letter: str) -> Kept:
    """Run it in this process; an error is what became of it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    started = time.perf_counter()
    try:
        module = import_module(f"benchmarks.{MODULES[letter]}")
        return _kept(letter, started, title=module.TITLE, result=module.run())
    except Exception as error:  # noqa: BLE001 - the others run all the same, and its row names the error
        traceback.print_exc()
        return _kept(letter, started, failed=one_line(error))


def _kept(
    letter: str, started: float, title: str | None = None, result: Result | None = None, failed: str | None = None
) -> Kept:
    return Kept(
        letter=letter,
        title=title or MODULES[letter][2:].replace("_", " ").capitalize(),
        command=f"python -m benchmarks{' --quick' if is_quick() else ''} {letter}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seconds=round(time.perf_counter() - started, 1),
        machine=machine(),
        reduced=is_quick(),
        result=result,
        failed=failed,
    )


def run_within(limit_seconds: float, command: Sequence[str]) -> str:
    """Run a command to its end or its limit; how it ended, in words. Nothing that it started is left."""
    before = set(psutil.Process().children(recursive=True))
    with _adopting_orphans():
        process = subprocess.Popen(command, cwd=HERE.parent)  # noqa: S603 - our own module
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return f"ended after its limit of {limit_seconds:g} s; `--limit SECONDS` gives it more"
        finally:
            _end(process, before)
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Be the parent of what a benchmark that dies leaves behind (prctl(2); on Linux alone)."""
    _adopt_orphans(1)
    try:
        yield
    finally:
        _adopt_orphans(0)


def _adopt_orphans(adopt: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, adopt)


def _end(process: subprocess.Popen[bytes], before: Collection[psutil.Process]) -> None:
    """Ask it to stop what it started; what is there after a while, or at a second Ctrl-C, is killed."""
    below = psutil.Process().children(recursive=True)
    try:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
    finally:
        left = {*below, *psutil.Process().children(recursive=True)}.difference(before)
        for each in left:
            with suppress(psutil.Error):
                each.kill()
        process.wait()
        psutil.wait_procs(left, GRACE_SECONDS)
