"""How a worker's main process tells its pool process to begin no further shard: by a file that both can see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

DRAIN_FILE = "MASKMILL_DRAIN_FILE"
"""Environment variable: the file that the main process makes when it is to stop."""


@contextmanager
def drain_file() -> Iterator[None]:
    """A place for the file, for this process and those that it starts."""
    with TemporaryDirectory(prefix="maskmill-worker-") as folder:
        os.environ[DRAIN_FILE] = str(Path(folder) / "drain")
        yield


def draining() -> bool:
    """Whether the worker is on its way out."""
    path = os.environ.get(DRAIN_FILE)
    return path is not None and Path(path).exists()
