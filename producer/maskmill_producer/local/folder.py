"""A folder of results: whose they are, and files that are whole or absent and never outside of it.

`masks/…` and `metadata.jsonl`, `failures.jsonl`, `classes.json`, `manifest.json` are the results, `overlays/…` their
pictures; `job.json` says whose they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import BinaryIO

from maskmill.errors import InvalidRecord, UsageError
from maskmill.images.folders import MASKS, METADATA, is_flat
from maskmill.locks import held_lock
from maskmill.masks.segment_map import MaskHeader, read_header
from maskmill.masks.stored import is_mask_of
from maskmill.schema import JobRecord, Manifest, Outcome

JOB, MANIFEST, FAILURES = "job.json", "manifest.json", "failures.jsonl"
CLASSES = "classes.json"
NOT_COPIED = "not-copied.jsonl"
"""The images whose mask could not be copied, with the reason; absent when there are none."""

ACCOUNT = (MANIFEST, METADATA, FAILURES, CLASSES, NOT_COPIED)
OVERLAYS, REPLACED, PARTS = "overlays", "masks.replaced", ".parts"

FOLDERS_KEPT = 1000


class Unplaceable(UsageError):
    """One mask has no place in the folder: something is in its way, its name is too long, a link leads out."""

    code = "unplaceable"
    cure = "Move what is in the way, or choose another folder."


@dataclass
class Folder:
    """A folder that exists: its real path, and where its masks lie. `Folder.at(path)` finds that out.

    Its methods raise `OSError` for what concerns the whole folder (no space, no permission).
    """

    root: Path
    masks: Path
    _numbers: Iterator[int] = field(default_factory=count)
    _placing: Lock = field(default_factory=Lock)
    _made: dict[Path, Path] = field(default_factory=dict)
    """Real places of the folders that files went to last, since looking a place up takes as long as writing a mask."""

    @classmethod
    def at(cls, path: Path) -> Folder:
        """The folder as it is, for readers."""
        root = path.resolve()
        return cls(root, root if is_flat(root) else root / MASKS)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Folder]:
        """The folder, made if need be, for one writer at a time; raises `UsageError` while another one writes."""
        path.mkdir(parents=True, exist_ok=True)
        folder = cls.at(path)
        with held_lock(folder.root):
            _drop_parts(folder.root)
            (folder.root / PARTS).mkdir()
            try:
                yield folder
            finally:
                _drop_parts(folder.root)

    def name_of(self, key: str) -> str:
        """A mask's path from the folder: `masks/a/b.png`, and `a/b.png` where masks lie directly in it."""
        return str(PurePosixPath(key).relative_to(MASKS)) if self.masks == self.root else key

    def path_of(self, key: str) -> Path:
        """The file of a mask key, its parent made; raises `Unplaceable` for one that would be outside.

        `masks/a/b.png` is `<root>/masks/a/b.png`, or `<root>/a/b.png` where masks lie directly in the folder, unless
        `masks/a` is a link to somewhere else.
        """
        return self._place(place_of(self.masks, key), key)

    def overlay_of(self, key: str) -> Path:
        """The picture of a mask key, raising as `path_of` does: `overlays/a/b.jpg.jpg` of `masks/a/b.jpg.png`."""
        return self._place(self.root / OVERLAYS / PurePosixPath(key).relative_to(MASKS).with_suffix(".jpg"), key)

    def _place(self, target: Path, key: str) -> Path:
        if target.name in ("", ".."):
            raise Unplaceable(f"{key} would lie outside of {self.root}")
        return (self._made.get(target.parent) or self._make(target.parent, key)) / target.name

    def _make(self, parent: Path, key: str) -> Path:
        real = parent.resolve()
        if not real.is_relative_to(self.root):
            raise Unplaceable(f"{key} would lie outside of {self.root}")
        real.mkdir(parents=True, exist_ok=True)
        if len(self._made) >= FOLDERS_KEPT:
            self._made.clear()
        self._made[parent] = real
        return real

    def holds(self, key: str, outcome: Outcome) -> bool:
        """Whether the outcome's mask is there, or was in the results before these; never told by its name alone.

        Raises `Unplaceable` when another image's or job's mask has the name, as on a disk that takes `A` for `a`.
        """
        target = self.path_of(key)
        if found := header_of(target):
            _refuse_other(target, found, outcome)
            return True
        if not self._has_earlier_masks:
            return False
        before = self.root / REPLACED / PurePosixPath(key).relative_to(MASKS)
        found = header_of(before)
        if found is None or not is_mask_of(found, outcome) or not before.parent.resolve().is_relative_to(self.root):
            return False
        before.replace(target)
        return True

    @cached_property
    def _has_earlier_masks(self) -> bool:
        return (self.root / REPLACED).is_dir()

    def put_mask(self, key: str, png: bytes, outcome: Outcome) -> None:
        """Write a mask; raises `Unplaceable` if another one took the name meanwhile."""
        target, part = self.path_of(key), self._part(png)
        with self._placing:
            if _linked(part, target):
                part.unlink()
                return
            if found := header_of(target):
                _refuse_other(target, found, outcome)
            part.replace(target)

    def write(self, name: str, data: bytes) -> None:
        """Write a file directly in the folder."""
        self.put(self.root / name, data)

    def put(self, target: Path, data: bytes) -> None:
        """Write a file in a place that `overlay_of` gave: whole or absent."""
        self._part(data).replace(target)

    @contextmanager
    def growing(self, name: str) -> Iterator[BinaryIO]:
        """A file that grows aside and gets its name when the block ends well."""
        part = self.root / PARTS / str(next(self._numbers))
        with part.open("x+b") as file:
            yield file
        part.replace(self.root / name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files directly in the folder, if they are there."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def _part(self, data: bytes) -> Path:
        part = self.root / PARTS / f"{os.getpid()}-{next(self._numbers)}"
        with part.open("xb") as file:
            file.write(data)
        return part


def place_of(masks: Path, key: str) -> Path:
    """The file of a mask key, for a reader, who checks himself where links lead; raises `Unplaceable`."""
    if not key.startswith(f"{MASKS}/"):
        raise Unplaceable(f"{key} would lie outside of {masks}")
    return masks / PurePosixPath(key).relative_to(MASKS)


def _drop_parts(root: Path) -> None:
    parts = root / PARTS
    parts.unlink() if parts.is_symlink() else shutil.rmtree(parts, ignore_errors=True)


def _linked(part: Path, target: Path) -> bool:
    """Give the file this name too, unless one has it: of several processes one does, also where `A` is `a`.

    A disk without hard links says no.
    """
    try:
        target.hardlink_to(part)
    except OSError:
        return False
    return True


def owner(root: Path) -> JobRecord | Manifest | None:
    """Whose results a folder holds, None for nobody's; raises `UsageError` when such a file is none of ours."""
    for name, kind in ((JOB, JobRecord), (MANIFEST, Manifest)):
        with suppress(FileNotFoundError, NotADirectoryError), reading(root / name):
            try:
                return kind.from_json((root / name).read_bytes())
            except InvalidRecord:
                raise UsageError(f"{root / name} is not one of Maskmill's files: choose another folder") from None
    return None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What forbids to read a file that is there becomes one line: `UsageError`."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def header_of(path: Path) -> MaskHeader | None:
    """The header of a mask file; None for anything else: no file, a link, half a mask, another's picture."""
    try:
        return None if path.is_symlink() else read_header(path.read_bytes())
    except (InvalidRecord, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _refuse_other(path: Path, found: MaskHeader, outcome: Outcome) -> None:
    if not is_mask_of(found, outcome):
        raise Unplaceable(f"{path} is the mask of another image or job (are capitals and small letters told apart?)")
