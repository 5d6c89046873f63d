"""Deleting all that a pair of servers keeps."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from maskmill_producer.embedded.broker import Broker
from maskmill_producer.embedded.errors import EmbeddedServersFailed
from maskmill_producer.embedded.locks import is_locked
from maskmill_producer.embedded.object_store import ObjectStore
from maskmill_producer.embedded.process import GUARD
from maskmill_producer.embedded.servers import status
from maskmill_producer.embedded.state import State

LOCK = "lock"


def held_bytes(state_dir: Path | None = None) -> tuple[Path, int]:
    """The state folder, and the bytes of the files in it."""
    root, held = status(state_dir).state_dir, 0
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # servers that run come and go with files
            held += 0 if path.is_dir() else path.lstat().st_size
    return root, held


def purge(state_dir: Path | None = None) -> int:
    """Delete data, logs and credentials of a pair that is down; returns the bytes that were freed.

    Raises `EmbeddedServersFailed` while a server or a user of the pair lives.
    """
    root, held = held_bytes(state_dir)
    if not root.exists():
        return 0
    state = State(root)
    with state.lock():
        _check_unused(state)
        for path in root.iterdir():
            if path.name != LOCK:  # who waits for it must find it locked, not gone
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        state.make()
    return held


def _check_unused(state: State) -> None:
    if users := state.users():
        raise EmbeddedServersFailed(f"the embedded servers are in use (by process {users[0]}): wait for it, or end it")
    if any(is_locked(state.folder(name) / GUARD) for name in (Broker.name, ObjectStore.name)):
        raise EmbeddedServersFailed("the embedded servers run: `maskmill servers stop` first")
