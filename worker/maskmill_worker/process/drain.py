"""How a worker leaves: it drains, gives back what is not finished in time, and is gone soon after, whatever hangs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import structlog

from maskmill import exit_codes

DRAIN_FILE = "MASKMILL_DRAIN_FILE"
"""Environment variable: the file by which a worker's main process tells its pool process to begin no further shard."""

LEAVE_SECONDS = 8.0
"""How long a worker may take to give its shards back and leave; no limit of Celery's or billiard's own sees to that."""

POLL_SECONDS = 0.05

log = structlog.get_logger(__name__)


@contextmanager
def drain_file() -> Iterator[Callable[[], None]]:
    """A place for the file, for this process and those that it starts; yields what removes it before its time."""
    with TemporaryDirectory(prefix="maskmill-worker-", ignore_cleanup_errors=True) as folder:
        os.environ[DRAIN_FILE] = str(Path(folder) / "drain")
        yield lambda: shutil.rmtree(folder, ignore_errors=True)


def draining() -> bool:
    """Whether the worker is on its way out."""
    path = os.environ.get(DRAIN_FILE)
    return path is not None and Path(path).exists()


def drain_on_signal(drain_seconds: float, busy: Callable[[], bool]) -> None:
    """From now on SIGTERM and SIGINT make this process, the main one of a worker, drain and leave.

    The pool process begins no further shard. When it is no longer `busy`, after `drain_seconds`, or at another signal,
    the handler for SIGTERM that is installed now gives back what is in flight. Who is still here `LEAVE_SECONDS` later,
    because a server is gone or silent, is ended by force, with its pool process and loaders.
    """
    give_back = signal.getsignal(signal.SIGTERM)
    hurried = Event()

    def leave() -> None:
        deadline = time.monotonic() + drain_seconds
        while busy() and time.monotonic() < deadline and not hurried.wait(POLL_SECONDS):
            pass
        if not hurried.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LEAVE_SECONDS)
        log.error("ended_by_force", reason=f"still here {LEAVE_SECONDS:.0f} s after its time to drain")
        os._exit(exit_codes.INTERRUPTED)

    def hear(*_: object) -> None:
        if draining():
            hurried.set()
            signal.signal(signal.SIGTERM, give_back)
            signal.raise_signal(signal.SIGTERM)
        else:
            Path(os.environ[DRAIN_FILE]).touch()
            Thread(target=leave, name="leave", daemon=True).start()

    signal.signal(signal.SIGTERM, hear)
    signal.signal(signal.SIGINT, hear)
