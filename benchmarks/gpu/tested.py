"""The tests of `tests/gpu` as a piece: which passed, what failed, and the figures that they give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.sheet import Found, Sheet
from benchmarks.result import Comparison, Figure

ROOT = Path(__file__).parents[2]
PROCESSES = 8
LOOK_SECONDS = 1.0
FEW = "detr or segformer"
"""The families of a dry run."""


def run_tests(sheet: Sheet, device: str, files: Sequence[str], *, few: bool) -> None:
    """Run these files of tests, each family in a process, and keep what is known of them, second by second."""
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *files]
        command += ["--device", device, "--lines", str(lines)]
        command += ["-n", str(min(PROCESSES, os.cpu_count() or 1)), "--dist", "loadgroup"]
        command += ["-k", FEW] if few else []
        with _running(command) as process:
            while process.poll() is None:
                time.sleep(LOOK_SECONDS)
                sheet.put(list(_found(lines)))
        sheet.put([*_found(lines), f"pytest ended with {process.returncode}."])


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)  # noqa: S603 - our own tests
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _found(lines: Path) -> Iterator[Found]:
    """The figures and the tests that did not pass, as `tests/gpu/conftest.py` writes them, and how many passed."""
    outcomes = Counter[str]()
    for line in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else ():
        told = json.loads(line)
        if "figure" in told:
            yield Figure.model_validate(told["figure"])
            continue
        outcomes[told["outcome"]] += 1
        if told["outcome"] != "passed":
            yield f"{told['outcome']}: {told['test']}: {told['reason']}"
    yield Comparison(name="tests that failed", value=outcomes["failed"], bar=0, sense="at most", unit="tests")
    yield ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "No test has ended yet."
