"""Lock files: a locked file is a live process.

The kernel drops a `flock` when its last holder ends, however it ends. That tells the dead from the living
where a pid with a start time cannot: after a reboot or a step of the clock, between containers, and between
hosts that share a file system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskmill_producer.embedded.errors import EmbeddedServersFailed

with suppress(ImportError):  # Windows, for which there are no wheels either: `servers` says so
    import fcntl

POLL_SECONDS = 0.05


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock of `path` (made if need be, mode 0600), or None if others hold it.

    Raises `EmbeddedServersFailed` where the file system has no file locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise EmbeddedServersFailed(
            f"files in {path.parent} cannot be locked ({error.strerror}): "
            "set MASKMILL_STATE_DIR to a folder on a local disk"
        ) from error
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `path`; False if there is no such file."""
    if not path.exists():
        return False
    descriptor = try_lock(path, shared=True)  # shared: two that look at once do not see each other
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def wait_for_lock(path: Path, timeout_seconds: float) -> int | None:
    """Like `try_lock`, waiting up to `timeout_seconds` for other holders."""
    deadline = time.monotonic() + timeout_seconds
    while (descriptor := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return descriptor


@contextmanager
def held(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock of `path` for a block; raises `EmbeddedServersFailed` after waiting `timeout_seconds`."""
    descriptor = wait_for_lock(path, timeout_seconds)
    if descriptor is None:
        raise EmbeddedServersFailed(
            f"another maskmill has been starting or stopping the embedded servers for {timeout_seconds:g} s "
            f"(it holds {path}): wait for it or end it"
        )
    try:
        yield
    finally:
        os.close(descriptor)
