"""A `maskmill-worker` as a child of this command: started, watched, started again when it dies, stopped in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from maskmill import exit_codes
from maskmill.errors import JobFailed, ModelUnavailable, UsageError

MAX_STARTS = 4
STOP_SECONDS = 30.0


class WorkerProcess:
    """One worker process; its log goes to a file, because the terminal belongs to the progress bar."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = [worker_command(), f"--with-parent={os.getpid()}", *arguments]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._starts = 0
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._process.pid

    def check(self) -> None:
        """Start the worker again if it ended; raises what it ended with when another start cannot help."""
        code = self._process.poll()
        if code is None:
            return
        if code == exit_codes.MODEL:
            raise ModelUnavailable(self._last_error())
        if code == exit_codes.USAGE:
            raise UsageError(self._last_error())
        if self._starts >= MAX_STARTS:
            raise JobFailed(f"the worker ended {self._starts} times (exit code {code}); its log is {self._log}")
        self._process = self._start()

    def stop(self) -> None:
        """SIGTERM, which gives the shard in hand back; SIGKILL if that takes too long."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        if self._starts > 1:
            time.sleep(1)
        with self._log.open("ab") as log:
            # A session of its own, so that Ctrl-C reaches this command alone, which then stops the worker in order.
            return subprocess.Popen(  # noqa: S603 - our own console script
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

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
