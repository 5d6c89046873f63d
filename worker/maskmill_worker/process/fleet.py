"""A fleet: one worker process for each device of this machine, watched, started again when it ends, stopped in order.

Loads no torch. A worker that cannot start at all, or ends again and again, stops the fleet with a reason: whoever
started it (systemd, a container engine, a person) can do more about that than another start can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from maskmill import exit_codes
from maskmill.errors import MaskmillError
from maskmill_worker.process.member import Member

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
KILL_SECONDS = 20.0
"""After its time to drain, how long a worker may take to leave before it is killed."""

FINAL = {
    exit_codes.USAGE: "a wrong option or setting",
    exit_codes.MODEL: "the model cannot be had",
}
"""Exit codes of a worker that another start would not change."""


class FleetFailed(MaskmillError):
    """Starting workers again cannot help; `exit_code` is what the fleet ends with."""

    code = "fleet_failed"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a worker is started again, and when to give up: after `max_ends` quick ends in a row."""

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


class Fleet:
    """The members' processes. `command` starts a worker; what each member is comes after it."""

    def __init__(
        self, members: Sequence[Member], command: Sequence[str], drain_seconds: float, backoff: Backoff | None = None
    ) -> None:
        self._children = [_Child(member, command, backoff or Backoff()) for member in members]
        self._stop_seconds = drain_seconds + KILL_SECONDS
        self._asked_to_stop = 0

    def run(self) -> int:
        """Keep every member running until SIGTERM or SIGINT, and give the exit code; raises `FleetFailed`.

        The signal lets the workers drain; the same once more kills them.
        """
        log.info("fleet_started", workers=[child.member.name for child in self._children])
        with self._hearing_signals():
            try:
                while not self._asked_to_stop:
                    for child in self._children:
                        child.tend()
                    time.sleep(POLL_SECONDS)
            finally:
                drained = self._stop()
        log.info("fleet_stopped", drained=drained)
        return 0 if drained else exit_codes.INTERRUPTED

    def _stop(self) -> bool:
        """Let the workers drain; whether all did. Killed are those that take too long, or all at another signal."""
        left = [child for child in self._children if child.terminate()]
        log.info("fleet_stopping", workers=[child.member.name for child in left])
        deadline = time.monotonic() + self._stop_seconds
        while any(child.runs() for child in left):
            if self._asked_to_stop > 1 or time.monotonic() > deadline:
                for child in left:
                    child.kill()
                return False
            time.sleep(POLL_SECONDS)
        return True

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, *_: Any) -> None:
        self._asked_to_stop += 1


class _Child:
    """A member's process: absent at first and during a backoff."""

    def __init__(self, member: Member, command: Sequence[str], backoff: Backoff) -> None:
        self.member = member
        self._command = [*command, f"--with-parent={os.getpid()}", *member.arguments]
        self._backoff = backoff
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = self._started = time.monotonic()
        self._quick_ends = 0

    def tend(self) -> None:
        """Start it if it is time to, see to it if it ended; raises `FleetFailed` when another start cannot help."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
        elif (code := self._process.poll()) is not None:
            self._process = None
            self._ended(code)

    def _start(self) -> None:
        # A session of its own, so that Ctrl-C reaches the fleet alone, which then stops its workers in order.
        self._process = subprocess.Popen(  # noqa: S603 - our own console script
            self._command, env=dict(self.member.environment), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started = time.monotonic()
        log.info("worker_started", worker=self.member.name, device=self.member.place, pid=self._process.pid)

    def _ended(self, code: int) -> None:
        lived_seconds = time.monotonic() - self._started
        if code in FINAL:
            raise FleetFailed(
                f"worker {self.member.name} on {self.member.place} cannot start: {FINAL[code]} (exit code {code}); "
                "its own line above says which",
                code,
            )
        self._quick_ends = self._backoff.quick_ends(self._quick_ends, lived_seconds)
        if self._quick_ends >= self._backoff.max_ends:
            raise FleetFailed(self._crash_loop(code), exit_codes.UNAVAILABLE)
        delay_seconds = self._backoff.delay_seconds(self._quick_ends)
        self._start_at = time.monotonic() + delay_seconds
        log.warning(
            "worker_ended",
            worker=self.member.name,
            by=how_it_ended(code),
            lived_seconds=round(lived_seconds, 1),
            restart_seconds=delay_seconds,
        )

    def _crash_loop(self, code: int) -> str:
        look = "its last lines above say why"
        if code == -signal.SIGKILL:
            look = "most often that is the kernel, out of memory: see dmesg, and use fewer or smaller workers"
        return (
            f"worker {self.member.name} on {self.member.place} ended {self._quick_ends} times in a row within "
            f"{self._backoff.steady_seconds:.0f} s of its start, the last time by {how_it_ended(code)}: {look}. "
            f"The fleet stops; `maskmill-worker --device {self.member.place}` tries this worker alone"
        )

    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> bool:
        """Let it drain; False when there is nothing to wait for."""
        if self._process is None or not self.runs():
            return False
        self._process.terminate()
        return True

    def kill(self) -> None:
        """End it now. Its pool process and loaders end with it; its shards are taken over when their leases expire."""
        if self._process is not None and self.runs():
            self._process.kill()
            self._process.wait()
            log.warning("worker_killed", worker=self.member.name)


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words: negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
