"""Which workers of this machine live: each keeps a small file fresh, and `maskmill-worker health` looks at the files.

Files, not the broker: while the broker is away workers wait for it, and starting their container again would not help.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import psutil
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from maskmill.errors import UsageError, one_line

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5.0
LOST_SECONDS = 60.0
"""A worker whose file is older does not live, whatever its process says: it hangs, or the machine was asleep."""

FORGET_SECONDS = 3600.0
"""How long a worker that ended without taking its file away counts as missing, unless one of its name starts."""

CLOCK_SECONDS = 2.0
"""How exactly the start of a process can be told; a process of the same id that started at another time is another."""


class Sign(BaseModel):
    """What a worker writes about itself; `started` is when its process was created, in seconds of the epoch."""

    model_config = ConfigDict(frozen=True)

    node: str
    queue: str
    pid: int
    started: float


@dataclass(frozen=True)
class Vitals:
    """One worker as its file shows it; `reason` says why it counts as alive or not."""

    node: str
    pid: int
    alive: bool
    seen_seconds_ago: float
    reason: str


def run_folder(run_dir: Path | None) -> Path:
    """The folder of the files: as set, else one for each user in the folder for temporary files."""
    return run_dir or Path(tempfile.gettempdir()) / f"maskmill-workers-{os.getuid()}"


class HealthFile:
    """The file of this process. What goes wrong with it is logged: a full disk is no reason to stop segmenting."""

    def __init__(self, node: str, queue: str, run_dir: Path | None) -> None:
        self._node, self._queue = node, queue
        self._shared = run_dir is None
        self._path = run_folder(run_dir) / f"{quote(f'{queue}.{node}', safe='@')}.json"

    def touch(self) -> None:
        """Write the file anew, in one step."""
        process = psutil.Process()
        sign = Sign(node=self._node, queue=self._queue, pid=process.pid, started=process.create_time())
        new = self._path.with_suffix(f".{sign.pid}")
        try:
            self._make_folder(self._path.parent)
            new.write_text(sign.model_dump_json())
            new.replace(self._path)
        except (OSError, UsageError) as error:
            log.warning("no_sign_of_life", path=str(self._path), reason=one_line(error))

    def remove(self) -> None:
        """Take the file away, unless it is another worker's of the same name by now."""
        with suppress(OSError, ValidationError):
            if Sign.model_validate_json(self._path.read_bytes()).pid == os.getpid():
                self._path.unlink()

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        # Anybody may make a folder of this name among the temporary files.
        if self._shared and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid()):
            raise UsageError(f"the folder {folder} is not this user's own: set MASKMILL_RUN_DIR to one that is")


@contextmanager
def signs_of_life(file: HealthFile, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Keep the file fresh for the length of the block, from a thread of its own, and take it away after.

    The tending thread would not do: writing the manifest of a large job, or waiting for a broker, can take minutes.
    """
    stopped = Event()

    def beat() -> None:
        while not stopped.wait(beat_seconds):
            file.touch()

    file.touch()
    thread = Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        file.remove()


def workers(queue: str, run_dir: Path | None) -> list[Vitals]:
    """Those workers of the queue on this machine that should be alive, by name: all that did not leave in order."""
    found = (_vitals(path, queue) for path in sorted(run_folder(run_dir).glob("*.json")))
    return [vitals for vitals in found if vitals]


def _vitals(path: Path, queue: str) -> Vitals | None:
    try:
        sign = Sign.model_validate_json(path.read_bytes())
        age = time.time() - path.stat().st_mtime
    except (OSError, ValidationError):  # it left a moment ago, or the file is not a worker's
        return None
    runs = _runs(sign)
    if not runs and age > FORGET_SECONDS:
        with suppress(OSError):
            path.unlink()
        return None
    if sign.queue != queue:
        return None
    reason = "alive"
    if not runs:
        reason = "its process has ended, and no worker took its place"
    elif age > LOST_SECONDS:
        reason = "its process is there and gives no sign: it hangs"
    return Vitals(sign.node, sign.pid, runs and age <= LOST_SECONDS, round(age, 1), reason)


def _runs(sign: Sign) -> bool:
    try:
        process = psutil.Process(sign.pid)
        started, status = process.create_time(), process.status()
    except psutil.Error:
        return False
    return status != psutil.STATUS_ZOMBIE and abs(started - sign.started) <= CLOCK_SECONDS
