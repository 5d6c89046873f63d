"""The `maskmill-worker` of a command of ours, and what the command says when it cannot go on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from maskmill import exit_codes
from maskmill.child_process import ChildFailed, ChildProcess
from maskmill.errors import JobFailed, MaskmillError, ModelUnavailable, UsageError

STOP_SECONDS = 30.0
"""How long a worker may take to give back its shards in flight."""


class WorkerProcess:
    """A worker that runs; its log goes to a file, because the terminal belongs to the progress bar."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._child = ChildProcess([worker_command(), *arguments], {**os.environ, **environment}, log=log)
        self._child.watch()

    @property
    def pid(self) -> int:
        """Of the process that runs now; raises `JobFailed` when there is none."""
        if self._child.pid is None:
            raise JobFailed(f"the worker does not run at the moment; its log is {self._log}")
        return self._child.pid

    def check(self) -> None:
        """Start the worker again if it ended; raises what it ended with when another start cannot help."""
        try:
            self._child.watch()
        except ChildFailed as failed:
            raise self._meaning(failed) from failed

    def dismiss(self) -> None:
        """SIGTERM, without waiting; `stop` waits."""
        self._child.terminate()

    def kill(self) -> None:
        """SIGKILL, before it has anything in hand."""
        self._child.kill()

    def stop(self) -> None:
        """SIGTERM, which gives its shards in flight back; SIGKILL if that takes too long."""
        self._child.stop(STOP_SECONDS)

    def _meaning(self, failed: ChildFailed) -> MaskmillError:
        if failed.exit_code == exit_codes.MODEL:
            return ModelUnavailable(self._last_error())
        if failed.exit_code == exit_codes.USAGE:
            return UsageError(self._last_error())
        return JobFailed(f"the worker ended {failed.ends} times in a row ({failed}); its log is {self._log}")

    def _last_error(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return said[-1] if said else f"the worker could not start; its log is {self._log}"


@contextmanager
def worker_process(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[WorkerProcess]:
    """A running worker for the length of the block."""
    process = WorkerProcess(arguments, environment, log)
    try:
        yield process
    finally:
        process.stop()


def worker_command() -> str:
    """Path of the `maskmill-worker` script of this installation; raises `UsageError` when torch is missing."""
    command = shutil.which("maskmill-worker", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None or find_spec("torch") is None:
        raise UsageError("the worker is not installed here: pip install 'maskmill[worker,embedded]'")
    return command
