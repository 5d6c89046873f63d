"""How often hosts are asked: each at its own pace, which all loader processes of a worker share.

A host that answers 429 or 503 is left alone for as long as it says, and asked more seldom from then on; with each image
that it gives, a little more often. What is known of a host lies in memory that forked processes share.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from zlib import crc32

with suppress(ImportError):  # Windows, where no worker runs
    import fcntl

PATIENCE_SECONDS = 300.0
"""A host that asks for a longer pause, or gives nothing for so long, is given up: its images fail at once."""

HOSTS = 4096
"""Hosts that are remembered; two whose names fall together share a pace."""

FIRST_GAP_SECONDS = 0.1
"""Between two requests to a host that has just said for the first time that they are too many."""

SLOWER, FASTER = 1.5, 0.98
MORE_A_SECOND = 0.05
"""What a refusal does to the gap, and what each image that is given does: the more of the two, which is the second one
where the gap is long."""

SLOWEST_SECONDS = 30.0
FORGOTTEN_SECONDS = 600.0


class HostGivenUp(Exception):
    """The host asks for a longer pause than anybody waits for."""


@dataclass
class _Host:
    """What is known of one host: times on the monotonic clock, which processes share, and seconds."""

    key: float = 0.0
    free_at: float = 0.0
    paused_until: float = 0.0
    gap: float = 0.0
    slowed_at: float = 0.0
    refused_since: float = 0.0

    def idle(self, now: float) -> bool:
        """Whether nothing is lost when it is forgotten."""
        waits = now < self.free_at or now < self.paused_until
        return not waits and (not self.gap or now > self.slowed_at + FORGOTTEN_SECONDS)

    def given_up(self, now: float) -> bool:
        """Whether its pause is too long, or it has refused for too long and is not free to be tried once more."""
        if self.refused_since and now > self.refused_since + PATIENCE_SECONDS:
            return max(self.free_at, self.paused_until) > now
        return self.paused_until > now + PATIENCE_SECONDS


FIELDS = len(fields(_Host))


class Pace:
    """When each host may be asked; `per_second` bounds it from the beginning. Made before processes are forked.

    >>> pace = Pace()
    >>> asked = pace.wait("images.example")                   # returns at once
    >>> pace.refused("images.example", asked, pause_seconds=2)    # it answered 429, Retry-After: 2
    >>> pace.wait("images.example")                           # returns 2 s later, also in another process
    """

    def __init__(self, per_second: float | None = None) -> None:
        self.per_second = per_second
        self._gap = 1 / per_second if per_second else 0.0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as this
        self._file.truncate(HOSTS * FIELDS * 8)
        self._table = memoryview(mmap.mmap(self._file.fileno(), HOSTS * FIELDS * 8)).cast("d")
        self._locks: dict[int, threading.Lock] = {}

    def __reduce__(self) -> tuple[type[Pace], tuple[float | None]]:
        """A process that is not forked begins with a pace of its own."""
        return Pace, (self.per_second,)

    def wait(self, host: str) -> float:
        """Wait until it is the caller's turn to ask the host; the time then. Raises `HostGivenUp`."""
        while (seconds := self._turn(host)) > 0:
            time.sleep(seconds)
        return time.monotonic()

    def refused(self, host: str, asked_at: float, pause_seconds: float) -> None:
        """The host has answered that this is too much: nobody asks it within the pause, and then more seldom.

        Of requests that were under way together the first one alone slows it down.
        """
        with self._host(host) as found:
            now = time.monotonic()
            found.paused_until = max(found.paused_until, now + pause_seconds)
            found.refused_since = found.refused_since or now
            if asked_at >= found.slowed_at:
                found.gap = min(max(found.gap * SLOWER, self._gap, FIRST_GAP_SECONDS), SLOWEST_SECONDS)
                found.slowed_at = now

    def answered(self, host: str, asked_at: float) -> None:
        """The host has given what it was asked for."""
        with self._host(host) as found:
            found.refused_since = 0.0
            if asked_at >= found.slowed_at and found.gap:
                gap = min(found.gap * FASTER, 1 / (1 / found.gap + MORE_A_SECOND))
                found.gap = gap if gap > FIRST_GAP_SECONDS / 10 else 0.0

    def _turn(self, host: str) -> float:
        """Take the turn, and return 0; or the seconds until it may be free."""
        with self._host(host) as found:
            now = time.monotonic()
            if found.given_up(now):
                raise HostGivenUp
            free_at = max(found.free_at, found.paused_until)
            if free_at <= now:
                found.free_at = now + max(found.gap, self._gap)
            return max(0.0, free_at - now)

    @contextmanager
    def _host(self, name: str) -> Iterator[_Host]:
        """What is known of the host, to be read and written by one at a time."""
        key, place = float(crc32(name.encode())), FIELDS * (crc32(name[::-1].encode()) % HOSTS)
        with self._locked():
            found = _Host(*self._table[place : place + FIELDS])
            if found.key != key and found.idle(time.monotonic()):
                found = _Host(key)
            try:
                yield found
            finally:
                for number, field in enumerate(fields(_Host)):
                    self._table[place + number] = getattr(found, field.name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One thread of one process; a process that is killed holds up nobody, for its lock goes with it."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
