"""A child process of ours: watched, started again with backoff, terminated, killed after a time.

    child = ChildProcess(["maskmill-worker", "--device", "cpu"], os.environ)
    while working:
        if (ended := child.watch()):        # starts it if it is time to; an end is told once
            print(ended.how, "again in", ended.restart_seconds)
    child.stop(30)

What outlives its starter (the embedded servers) is not for this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from maskmill import exit_codes
from maskmill.errors import MaskmillError

FINAL = {
    exit_codes.USAGE: "a wrong option or setting",
    exit_codes.MODEL: "the model cannot be had",
}
"""Exit codes that another start would not change."""


class ChildFailed(MaskmillError):
    """Another start cannot help: a final exit code, or so many quick `ends` in a row; `str(error)` is how it ended."""

    code = "child_failed"
    cure = "Read the worker's last lines, which the message shows."

    def __init__(self, exit_code: int, ends: int) -> None:
        super().__init__(how_it_ended(exit_code))
        self.exit_code = exit_code
        self.ends = ends


@dataclass(frozen=True)
class Backoff:
    """How long to wait before another start, and when to give up: after `max_ends` quick ends in a row."""

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    steady_seconds: float = 60.0
    max_ends: int = 5

    def quick_ends(self, before: int, lived_seconds: float) -> int:
        """Ends in a row, this one included; one that lived for `steady_seconds` begins again at none."""
        return 0 if lived_seconds >= self.steady_seconds else before + 1

    def delay_seconds(self, quick_ends: int) -> float:
        """Twice as long after each quick end."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** max(0, quick_ends - 1))


@dataclass(frozen=True)
class Ended:
    """An end that another start may mend."""

    code: int
    lived_seconds: float
    restart_seconds: float

    @property
    def how(self) -> str:
        """In words: `exit code 9`, `signal SIGKILL`."""
        return how_it_ended(self.code)


class ChildProcess:
    """One child: absent at first and during a backoff. With `log` its output is appended there."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        backoff: Backoff | None = None,
        log: Path | None = None,
    ) -> None:
        self._command = [*command, f"--with-parent={os.getpid()}"]
        self._environment = dict(environment)
        self._backoff = backoff or Backoff()
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end: subprocess.Popen[bytes] | None = None
        self._start_at = self._started = time.monotonic()
        self._quick_ends = 0

    @property
    def pid(self) -> int | None:
        """Of the process that was started last, None in a backoff."""
        return self._process.pid if self._process else None

    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def watch(self) -> Ended | None:
        """Start it if it is time to; tell of its end once. Raises `ChildFailed` when another start cannot help."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
            return None
        code = self._process.poll()
        return None if code is None else self._ended(code)

    def terminate(self) -> bool:
        """SIGTERM, once, at which a worker drains; False when there is nothing to wait for."""
        if self._process is None or not self.runs():
            return False
        if self._told_to_end is not self._process:  # a second one would end it by force
            self._told_to_end = self._process
            self._process.terminate()
        return True

    def kill(self) -> bool:
        """End it now; False if it has ended. What it started ends with it (`--with-parent`)."""
        if self._process is None or not self.runs():
            return False
        self._process.kill()
        self._process.wait()
        return True

    def stop(self, seconds: float) -> None:
        """Terminate it, and kill it if that takes longer."""
        if self._process is None or not self.terminate():
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _start(self) -> None:
        with ExitStack() as stack:
            output = stack.enter_context(self._log.open("ab")) if self._log else None
            # A session of its own, so that Ctrl-C reaches this process alone, which then stops its children in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own console script
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started = time.monotonic()

    def _ended(self, code: int) -> Ended:
        self._process = None
        lived_seconds = time.monotonic() - self._started
        self._quick_ends = self._backoff.quick_ends(self._quick_ends, lived_seconds)
        if code in FINAL or self._quick_ends >= self._backoff.max_ends:
            raise ChildFailed(code, self._quick_ends)
        delay_seconds = self._backoff.delay_seconds(self._quick_ends)
        self._start_at = time.monotonic() + delay_seconds
        return Ended(code, lived_seconds, delay_seconds)


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words: negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
