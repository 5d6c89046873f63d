"""Where an export goes: a folder, or a prefix in a store. Every file is whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Protocol

from platformdirs import user_cache_path

from maskmill.errors import ObjectNotFound, UsageError
from maskmill.machine import ONE_NAME
from maskmill.settings import Settings
from maskmill.storage.store import Store

WORK = ".export"
"""What is in the making lies below this folder, and is gone at the end."""


class Unwritable(UsageError):
    """One file of an export has no place: its name is too long, or another file has it."""

    code = "unwritable"
    cure = "Export to another folder, or to s3://."


class Target(Protocol):
    """A place for files, by relative names such as `labels/a/b.txt`; `work` is a folder on this machine's disk."""

    work: Path

    def put(self, name: str, data: bytes) -> None:
        """Write one file, replacing what is there; raises `Unwritable` for one name, `OSError` for all."""

    def place(self, name: str, path: Path) -> None:
        """Make a finished file from `work` one of the export's."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if there is none."""

    def foreign(self) -> str | None:
        """The name of something that is there already and is none of our work."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class FolderTarget:
    """A folder on this machine, made if need be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / WORK
        self._numbers: Iterator[int] = count()

    def put(self, name: str, data: bytes) -> None:
        """Written aside, then renamed."""
        part = self.work / f"{os.getpid()}-{next(self._numbers)}"
        part.write_bytes(data)
        self.place(name, part)

    def place(self, name: str, path: Path) -> None:
        """A rename."""
        target = self.root / PurePosixPath(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno not in ONE_NAME:
                raise
            raise Unwritable(f"{name} cannot be written: {error.strerror}") from error

    def read(self, name: str) -> bytes | None:
        """Its bytes."""
        with suppress(FileNotFoundError):
            return (self.root / name).read_bytes()
        return None

    def foreign(self) -> str | None:
        """Whatever is in the folder beside our work."""
        if not self.root.exists():
            return None
        return next((each.name for each in self.root.iterdir() if each.name != WORK), None)

    def remove(self, name: str) -> None:
        """Unlinked."""
        (self.root / name).unlink(missing_ok=True)

    def __str__(self) -> str:
        return str(self.root)


class StoreTarget:
    """A prefix in a store; what is in the making lies in this user's cache folder."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.store = Store(url, settings.s3)
        name = hashlib.sha256(f"{settings.s3.endpoint_url} {self.store.url}".encode()).hexdigest()[:16]
        self.work = user_cache_path("maskmill") / "exports" / name

    def put(self, name: str, data: bytes) -> None:
        """One object."""
        self.store.put(name, data)

    def place(self, name: str, path: Path) -> None:
        """Uploaded, in parts if it is large."""
        self.store.put_file(name, path)
        path.unlink()

    def read(self, name: str) -> bytes | None:
        """Its bytes."""
        with suppress(ObjectNotFound):
            return self.store.get(name)
        return None

    def foreign(self) -> str | None:
        """Any object below the prefix."""
        return next((item.key for item in self.store.list()), None)

    def remove(self, name: str) -> None:
        """Deleted."""
        self.store.delete(name)

    def __str__(self) -> str:
        return self.store.url


def target_of(out: str, settings: Settings) -> FolderTarget | StoreTarget:
    """`photos/coco` is a folder, `s3://bucket/coco` a prefix; raises `UsageError` for a prefix without a bucket."""
    if out.startswith("s3://"):
        return StoreTarget(out, settings)
    if "://" in out:
        raise UsageError(f"{out}: an export goes to a folder or to s3://bucket/prefix")
    return FolderTarget(Path(out))
