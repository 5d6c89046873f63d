"""pytest on a copy of the code, in processes forked from one that has torch already: importing it takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("maskmill", "producer", "worker", "tests", "demo", "pyproject.toml")
PATHS = ("", "producer", "worker")
OURS = ("maskmill", "maskmill_producer", "maskmill_worker", "tests", "demo")

LOADED_ONCE = ("pytest", "hypothesis", "boto3", "redis", "torchvision", "transformers.pipelines")
"""What tests import and no mutant changes."""

TEST_SECONDS, LEAVE_SECONDS = 120, 30
"""What one test may take with a mutant, and what pytest may take to end its servers after that."""

OPTIONS = ("-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--timeout={TEST_SECONDS}")

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(list(LOADED_ONCE))


@dataclass(frozen=True)
class Run:
    """What pytest did and said: its exit code, None if it took too long, and the first test that failed."""

    code: int | None
    failed: str
    seconds: float
    said: str


class Copy:
    """A copy of the code, one of whose modules at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)

    def run_with(self, module: str, code: str, tests: Sequence[str], seconds: float) -> Run:
        """pytest on these tests with this code in place of the module's."""
        (self.folder / module).write_text(code, encoding="utf-8")
        try:
            return self.run(tests, seconds)
        finally:
            shutil.copy(ROOT / module, self.folder / module)

    def run(self, tests: Sequence[str], seconds: float | None = None) -> Run:
        """pytest on these tests."""
        started, said = time.monotonic(), self.folder / "said.txt"
        process = CONTEXT.Process(target=_pytest, args=(str(self.folder), list(tests), str(said)))
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None and process.pid:
            os.kill(process.pid, signal.SIGINT)  # so that fixtures end the servers
            process.join(LEAVE_SECONDS)
            process.kill()
            process.join()
        text = said.read_text(encoding="utf-8", errors="replace")
        failed = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
        first = failed[0].partition(" ")[2].partition(" - ")[0] if failed else ""
        return Run(code, first if code is not None else "too slow", time.monotonic() - started, text)


def _pytest(folder: str, tests: list[str], said: str) -> None:
    """In the forked process: be a pytest that was started in the copy."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    paths = [os.path.join(folder, name).rstrip("/") for name in PATHS]  # noqa: PTH118 - entries of a path
    sys.path[:0] = paths
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}

    import pytest

    sys.exit(int(pytest.main([*OPTIONS, *tests])))
