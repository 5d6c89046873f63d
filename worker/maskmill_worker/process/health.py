"""Which workers of this machine live: each keeps a small file fresh, and `maskmill-worker health` looks at the files.

Files, not the broker: while the broker is away workers wait for it, and starting their container again would not help.
A file says what its worker does, too. One that is there and would hear of no work (`deaf`) does not count as alive.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event, Lock, Thread
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


class State(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    IDLE = "idle"
    WORKING = "working"
    DRAINING = "draining"
    DEAF = "deaf"


class Heartbeat(BaseModel):
    """What a worker writes about itself.

    `started` is when its process was created, `since` when it began with what it does, in seconds of the epoch.
    """

    model_config = ConfigDict(frozen=True)

    node: str
    queue: str
    pid: int
    started: float
    state: State
    since: float


@dataclass(frozen=True)
class WorkerHealth:
    """One worker as its heartbeat shows it; `reason` says why it counts as alive or not."""

    node: str
    pid: int
    state: State
    state_seconds: float
    alive: bool
    seen_seconds_ago: float
    reason: str


def run_folder(run_dir: Path | None) -> Path:
    """The folder of the files: as set, else one for each user in the folder for temporary files."""
    return run_dir or Path(tempfile.gettempdir()) / f"maskmill-workers-{os.getuid()}"


class HeartbeatFile:
    """The file of this process. What goes wrong with it is logged: a full disk is no reason to stop segmenting."""

    def __init__(self, node: str, queue: str, run_dir: Path | None) -> None:
        self.node, self.queue = node, queue
        self.state = State.STARTING
        self._since = time.time()
        self._shared = run_dir is None
        self._path = run_folder(run_dir) / f"{quote(f'{queue}.{node}', safe='@')}.json"
        self._lock = Lock()

    def change(self, state: State) -> State | None:
        """From now on the worker does this; what it did before, or None if that is the same."""
        if state is self.state:
            return None
        before, self.state, self._since = self.state, state, time.time()
        self.write()
        return before

    def write(self) -> None:
        """Write the file anew, in one step."""
        process = psutil.Process()
        heartbeat = Heartbeat(
            node=self.node,
            queue=self.queue,
            pid=process.pid,
            started=process.create_time(),
            state=self.state,
            since=self._since,
        )
        new = self._path.with_suffix(f".{heartbeat.pid}")
        try:
            with self._lock:
                self._make_folder(self._path.parent)
                new.write_text(heartbeat.model_dump_json())
                new.replace(self._path)
        except (OSError, UsageError) as error:
            log.warning("no_heartbeat", path=str(self._path), reason=one_line(error))

    def remove(self) -> None:
        """Take the file away, unless it is another worker's of the same name by now."""
        with suppress(OSError, ValidationError):
            if Heartbeat.model_validate_json(self._path.read_bytes()).pid == os.getpid():
                self._path.unlink()

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        # Anybody may make a folder of this name among the temporary files.
        if self._shared and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid()):
            raise UsageError(f"the folder {folder} is not this user's own: set MASKMILL_RUN_DIR to one that is")


@contextmanager
def heartbeats(file: HeartbeatFile, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Keep the file fresh for the length of the block, from a thread of its own, and take it away after.

    A thread that asks servers would not do: waiting for a broker, or writing a large manifest, can take minutes.
    """
    stopped = Event()

    def beat() -> None:
        while not stopped.wait(beat_seconds):
            file.write()

    file.write()
    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        file.remove()


def workers(queue: str, run_dir: Path | None) -> list[WorkerHealth]:
    """Those workers of the queue on this machine that should be alive, by name: all that did not leave in order."""
    found = (_health(path, queue) for path in sorted(run_folder(run_dir).glob("*.json")))
    return [health for health in found if health]


def _health(path: Path, queue: str) -> WorkerHealth | None:
    try:
        heartbeat = Heartbeat.model_validate_json(path.read_bytes())
        age = time.time() - path.stat().st_mtime
    except (OSError, ValidationError):  # it left a moment ago, or the file is not a worker's
        return None
    runs = _runs(heartbeat)
    if not runs and age > FORGET_SECONDS:
        with suppress(OSError):
            path.unlink()
        return None
    if heartbeat.queue != queue:
        return None
    problem = _problem(heartbeat, runs=runs, age=age)
    return WorkerHealth(
        node=heartbeat.node,
        pid=heartbeat.pid,
        state=heartbeat.state,
        state_seconds=round(max(0.0, time.time() - heartbeat.since), 1),
        alive=not problem,
        seen_seconds_ago=round(age, 1),
        reason=problem or "alive",
    )


def _problem(heartbeat: Heartbeat, *, runs: bool, age: float) -> str:
    if not runs:
        return "its process has ended, and no worker took its place"
    if age > LOST_SECONDS:
        return "its process is there and gives no sign: it hangs"
    if heartbeat.state is State.DEAF:
        return "it takes no message although work waits: it connects anew, and then starts anew"
    return ""


def _runs(heartbeat: Heartbeat) -> bool:
    try:
        process = psutil.Process(heartbeat.pid)
        started, status = process.create_time(), process.status()
    except psutil.Error:
        return False
    return status != psutil.STATUS_ZOMBIE and abs(started - heartbeat.started) <= CLOCK_SECONDS
