"""The state folder of one pair of servers: credentials, ports and pids, users, and the servers' own folders.

- `lock`: held while the pair is started or stopped
- `credentials.json`: mode 0600
- `keep`: if present, the pair stays when its last user leaves
- `users/PID-XXXX`: one a user, locked as long as that process lives
- `broker/`, `object-store/`: a server's data, its guard and `server.json`
- `broker.log`, `object-store.log`
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from maskmill_producer.embedded import locks
from maskmill_producer.embedded.errors import EmbeddedServersFailed

LOCK_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Credentials:
    """The secrets of one pair."""

    broker_password: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class Record:
    """Where a server runs, or ran last."""

    pid: int
    ports: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """One state folder. What changes it is for the holder of `lock`."""

    root: Path

    def make(self) -> None:
        """Make the folders, mode 0700; raises `EmbeddedServersFailed` where that is not allowed."""
        try:
            for name in ("", "users", "broker", "object-store"):
                (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedServersFailed(
                f"{self.root} cannot be made ({error.strerror}): set MASKMILL_STATE_DIR to a folder of yours"
            ) from error

    def lock(self) -> AbstractContextManager[None]:
        """Keep others from starting and stopping servers."""
        return locks.held(self.root / "lock", LOCK_TIMEOUT_SECONDS)

    def folder(self, server: str) -> Path:
        """Where the server of this name keeps its data."""
        return self.root / server.replace(" ", "-")

    def log(self, server: str) -> Path:
        """What the server of this name wrote to stdout and stderr."""
        return self.folder(server).with_name(self.folder(server).name + ".log")

    def credentials(self) -> Credentials:
        """The secrets, made at the first call."""
        path = self.root / "credentials.json"
        with suppress(OSError, ValueError, TypeError):
            found = Credentials(**json.loads(path.read_text()))
            path.chmod(0o600)
            return found
        made = Credentials(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        _write(path, asdict(made))
        return made

    def record(self, server: str) -> Record | None:
        """What `note` wrote last for this server; None if it cannot be read."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads((self.folder(server) / "server.json").read_text())
            return Record(int(found["pid"]), tuple(int(port) for port in found["ports"]))
        return None

    def note(self, server: str, record: Record) -> None:
        """Remember where a server runs."""
        _write(self.folder(server) / "server.json", asdict(record))

    def join(self) -> tuple[Path, int]:
        """Make this process a user until `leave` or its end; it may be one several times."""
        path = self.root / "users" / f"{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = locks.try_lock(path)
        if descriptor is None:
            raise RuntimeError(f"{path} is new, and yet locked by another process")
        return path, descriptor

    def leave(self, user: tuple[Path, int]) -> None:
        """Take back a `join`."""
        path, descriptor = user
        path.unlink(missing_ok=True)
        os.close(descriptor)

    def users(self) -> list[int]:
        """Pids of the live users."""
        return sorted(int(path.name.split("-")[0]) for path in self._user_files() if locks.is_locked(path))

    def sweep(self) -> None:
        """Forget users that ended without `leave` (SIGKILL, power cut)."""
        for path in self._user_files():
            if not locks.is_locked(path):
                path.unlink(missing_ok=True)

    def _user_files(self) -> list[Path]:
        return list((self.root / "users").glob("[0-9]*-*"))

    def keeps(self) -> bool:
        """Whether the servers stay up when the last user leaves."""
        return (self.root / "keep").exists()

    def set_keep(self, wanted: bool) -> None:
        """Say whether the servers stay up when the last user leaves."""
        if wanted:
            (self.root / "keep").touch(mode=0o600)
        else:
            (self.root / "keep").unlink(missing_ok=True)


def _write(path: Path, content: object) -> None:
    """Write JSON in one step (readers see the old or the new), readable by its owner alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise EmbeddedServersFailed(
            f"{path} cannot be written ({error.strerror}): mend that, or set MASKMILL_STATE_DIR to another folder"
        ) from error
