"""Whether a worker would hear of work: one that takes no message, although messages and shards wait, is deaf.

Each half minute counts: after the first its connection is made anew, which keeps the loaded model, after the second the
whole worker is.

    t = 0 s   idle, one message waits           hears (it has not had the time to take it)
    t = 30 s  idle, messages still wait         reconnect
    t = 35 s  as before                         deaf
    t = 60 s  as before                         restart
    any time  a task was taken, or none waits   hears
"""

from __future__ import annotations

from enum import Enum, auto

DEAF_SECONDS = 30.0
"""How long an idle worker may leave messages in the queue; one that hears takes them within milliseconds."""


class Verdict(Enum):
    """What to do about a worker; it is deaf in all cases but the first."""

    HEARS = auto()
    RECONNECT = auto()
    DEAF = auto()
    RESTART = auto()


class Hearing:
    """What was seen of one worker so far."""

    def __init__(self, deaf_seconds: float | None = None) -> None:
        self._deaf_seconds = DEAF_SECONDS if deaf_seconds is None else deaf_seconds
        self._taken = 0
        self._since: float | None = None
        self._reconnected = False

    def judge(self, now: float, *, taken: int, busy: bool, work_waits: bool) -> Verdict:
        """The verdict at `now` (monotonic seconds) on a worker that has taken so many tasks so far."""
        if busy or not work_waits or taken != self._taken:
            self._taken, self._since, self._reconnected = taken, None, False
            return Verdict.HEARS
        if self._since is None:
            self._since = now
        if now - self._since < self._deaf_seconds:
            return Verdict.DEAF if self._reconnected else Verdict.HEARS
        if self._reconnected:
            return Verdict.RESTART
        self._since, self._reconnected = now, True
        return Verdict.RECONNECT
