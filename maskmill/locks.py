"""One writer at a time in a folder: a lock that the kernel drops when its holder ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskmill.errors import UsageError

with suppress(ImportError):  # Windows
    import fcntl


@contextmanager
def held_lock(folder: Path, busy: str = "") -> Iterator[None]:
    """Keep others from writing; raises `UsageError` while one does, with the text `busy` where that says it better.

    A network file system without such locks goes without.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        busy = busy or f"another maskmill is writing to {folder}: wait for it, or name another folder"
        raise UsageError(busy) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)
