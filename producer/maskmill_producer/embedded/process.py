"""Server processes that outlive their starter.

A server is known by the lock file ('guard') of its folder, which it inherits locked and keeps open. So a
recycled pid is never taken for it, and two servers never share a folder.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from maskmill_producer.embedded.errors import EmbeddedServersFailed
from maskmill_producer.embedded.locks import POLL_SECONDS, is_locked, wait_for_lock

GUARD = "guard.lock"
GUARD_WAIT_SECONDS = 5.0
KILL_SECONDS = 10.0
LOG_LIMIT_BYTES = 2**20
TAIL_LINES = 12


@dataclass(frozen=True)
class Launch:
    """How to start a server. Secrets go into `environment` or `stdin` (at most 16 KiB), never into `command`."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes = field(default=b"", repr=False)


def spawn(launch: Launch, folder: Path, log: Path) -> int:
    """Start a server that owns `folder` and works in it; returns its pid. Its output is appended to `log`.

    Raises `EmbeddedServersFailed` if a server that we cannot see owns the folder.
    """
    guard = wait_for_lock(folder / GUARD, GUARD_WAIT_SECONDS)
    if guard is None:
        raise EmbeddedServersFailed(
            f"{folder} is in use by a server of another host, container or user: "
            "stop that one, or set MASKMILL_STATE_DIR to another folder"
        )
    stdin = _pipe_of(launch.stdin)
    try:
        process = _popen(launch, folder, stdin, guard, log)
    finally:
        os.close(stdin)
        os.close(guard)
    # If the server ends before we do, nobody else would reap it.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process.pid


def _pipe_of(content: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


def _popen(launch: Launch, folder: Path, stdin: int, guard: int, log: Path) -> subprocess.Popen[bytes]:
    too_long = log.exists() and log.stat().st_size > LOG_LIMIT_BYTES
    log.touch(mode=0o600)
    with log.open("wb" if too_long else "ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command is our own
            launch.command,
            cwd=folder,
            # Bare: weed takes settings from WEED_*, S3_* and $HOME/.seaweedfs as well.
            env={"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C", **launch.environment},
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in our terminal shall not reach it
            pass_fds=(guard,),
            umask=0o077,
        )


def _has_open(process: psutil.Process, path: Path) -> bool:
    try:
        return any(Path(file.path) == path for file in process.open_files())
    except (psutil.Error, OSError):  # ended, or not ours to look into
        return False


def owner(folder: Path, pid: int | None) -> psutil.Process | None:
    """The process `pid`, if it is the live server that owns `folder`."""
    if pid is None or not is_locked(folder / GUARD):
        return None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if _has_open(process, (folder / GUARD).resolve()):
            return process
    return None


def ask_all(folder: Path) -> list[psutil.Process]:
    """SIGTERM to every process that holds the guard of `folder`, its pid noted or not; which they are."""
    if not is_locked(folder / GUARD):
        return []
    guard = (folder / GUARD).resolve()
    found = [process for process in psutil.process_iter() if _has_open(process, guard)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    return found


def see_off(process: psutil.Process, grace_seconds: float) -> None:
    """Wait for a process that was asked to end, with SIGKILL after `grace_seconds`; returns when it is gone."""
    with suppress(psutil.NoSuchProcess):
        if not _gone_within(process, grace_seconds):
            process.kill()
            _gone_within(process, KILL_SECONDS)


def _gone_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _gone(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _gone(process: psutil.Process) -> bool:
    try:  # a zombie, which its parent has yet to reap, has closed its files and ports
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def tail(log: Path) -> str:
    """The last lines of a log file, or a word that there are none."""
    with suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(line[:300] for line in lines) or "(empty)"
    return "(no log)"
