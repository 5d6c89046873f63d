"""A fleet: one worker process for each device of this machine, watched, started again when it ends, stopped in order.

Loads no torch. A worker that cannot start at all, or ends again and again, stops the fleet with a reason: whoever
started it (systemd, a container engine, a person) can do more about that than another start can.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from maskmill import exit_codes
from maskmill.child_process import FINAL, Backoff, ChildFailed, ChildProcess
from maskmill.errors import MaskmillError
from maskmill_worker.process.member import Member

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
KILL_SECONDS = 20.0
"""After its time to drain, how long a worker may take to leave before it is killed."""


class FleetFailed(MaskmillError):
    """Starting workers again cannot help; `exit_code` is what the fleet ends with."""

    code = "fleet_failed"
    cure = "Do what the reason says; the workers' last lines are above it."

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Fleet:
    """The members' processes. `command` starts a worker; what each member is comes after it."""

    def __init__(
        self, members: Sequence[Member], command: Sequence[str], drain_seconds: float, backoff: Backoff | None = None
    ) -> None:
        self._backoff = backoff or Backoff()
        self._children = [
            (member, ChildProcess([*command, *member.arguments], member.environment, self._backoff))
            for member in members
        ]
        self._stop_seconds = drain_seconds + KILL_SECONDS
        self._asked_to_stop = 0

    def run(self) -> int:
        """Keep every member running until SIGTERM or SIGINT, and give the exit code; raises `FleetFailed`.

        The signal lets the workers drain; the same once more kills them.
        """
        log.info("fleet_started", workers=[member.name for member, _ in self._children])
        with self._hearing_signals():
            try:
                while not self._asked_to_stop:
                    for member, child in self._children:
                        self._watch(member, child)
                    time.sleep(POLL_SECONDS)
            finally:
                drained = self._stop()
        log.info("fleet_stopped", drained=drained)
        return 0 if drained else exit_codes.INTERRUPTED

    def _watch(self, member: Member, child: ChildProcess) -> None:
        before = child.pid
        try:
            ended = child.watch()
        except ChildFailed as failed:
            raise self._failure(member, failed) from failed
        if ended:
            facts = {"lived_seconds": round(ended.lived_seconds, 1), "restart_seconds": ended.restart_seconds}
            log.warning("worker_ended", worker=member.name, by=ended.how, **facts)
        elif child.pid != before:
            log.info("worker_started", worker=member.name, device=member.place, pid=child.pid)

    def _failure(self, member: Member, failed: ChildFailed) -> FleetFailed:
        if failed.exit_code in FINAL:
            return FleetFailed(
                f"worker {member.name} on {member.place} cannot start: {FINAL[failed.exit_code]} ({failed}); "
                "its own line above says which",
                failed.exit_code,
            )
        look = "its last lines above say why"
        if failed.exit_code == -signal.SIGKILL:
            look = "most often that is the kernel, out of memory: see dmesg, and use fewer or smaller workers"
        return FleetFailed(
            f"worker {member.name} on {member.place} ended {failed.ends} times in a row within "
            f"{self._backoff.steady_seconds:.0f} s of its start, the last time by {failed}: {look}. "
            f"The fleet stops; `maskmill-worker --device {member.place}` tries this worker alone",
            exit_codes.UNAVAILABLE,
        )

    def _stop(self) -> bool:
        """Let the workers drain; whether all did. Killed are those that take too long, or all at another signal."""
        left = [(member, child) for member, child in self._children if child.terminate()]
        log.info("fleet_stopping", workers=[member.name for member, _ in left])
        deadline = time.monotonic() + self._stop_seconds
        while any(child.runs() for _, child in left):
            if self._asked_to_stop > 1 or time.monotonic() > deadline:
                for member, child in left:
                    # Its shards are taken over when their leases expire.
                    if child.kill():
                        log.warning("worker_killed", worker=member.name)
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
