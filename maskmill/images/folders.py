"""Files below a local folder or of a glob, in name order; the names of one folder are in memory at a time."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH112, PTH116, PTH118

from __future__ import annotations

import fnmatch
import glob
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from maskmill.images.entries import Entry, LeftOut, Reason, Unlisted
from maskmill.images.kinds import is_image_name, spells_extension

METADATA, MASKS = "metadata.jsonl", "masks"

RESULTS = frozenset({"job.json", METADATA})
"""Files that stand together in a folder of results (`maskmill run`, `results --download`) and nowhere else."""

OWN_FILES = RESULTS | {"manifest.json", "failures.jsonl", "not-copied.jsonl", "contact-sheet.png"}
OWN_FOLDERS = frozenset({MASKS, "masks.replaced", ".parts"})
REPORT, REPORT_FOLDERS = "report.json", frozenset({"data", "pictures"})
"""What stands together in the folder of a report, whose pictures are nobody's images."""


def is_flat(results: Path) -> bool:
    """Whether the masks of a folder of results lie directly in it, and not in its folder `masks`.

    The first row of its metadata says so, whatever the folder is called by now. Where there is none yet, its name does:
    `maskmill run photos/ --out masks/` leaves no `masks/masks/`.
    """
    try:
        with (results / METADATA).open("rb") as lines:
            row = json.loads(lines.readline())
        return bool(row["file_name"] != row["mask_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return results.name == MASKS


@dataclass(frozen=True)
class _Names:
    """What lies directly in one folder, sorted."""

    files: list[str]
    folders: list[str]

    @cached_property
    def is_results(self) -> bool:
        return set(self.files) >= RESULTS

    @property
    def is_report(self) -> bool:
        return REPORT in self.files and set(self.folders) >= REPORT_FOLDERS


def walk(top: str, *, all_files: bool) -> Iterator[Entry]:
    """All files below a folder: images by name (or all), and what is left out. A hidden folder is one entry.

    Links to folders are followed; a folder that is reached twice is given once, so links cannot go round. A folder
    that may not be read is one `Unlisted` entry.
    """
    waiting, seen = [(top, False)], set[tuple[int, int]]()
    while waiting:
        folder, is_own = waiting.pop()
        names = _scan_once(folder, seen)
        if not isinstance(names, _Names):
            yield from names
            continue
        is_own = is_own or names.is_report or (names.is_results and is_flat(Path(folder)))
        yield from _files(folder, names, is_own, all_files)
        below = [] if is_own or all_files else [name for name in names.folders if name.startswith(".")]
        yield from (LeftOut(Reason.HIDDEN, os.path.join(folder, name)) for name in below)
        waiting.extend(
            (os.path.join(folder, name), is_own or (names.is_results and name in OWN_FOLDERS))
            for name in reversed(names.folders)
            if name not in below
        )


def matches(pattern: str, *, all_files: bool) -> Iterator[Entry]:
    """What a glob of absolute paths matches. Like a shell's, `*` matches nothing hidden.

    A file counts as an image by its own name, unless the pattern spells its extension: then the caller decides.
    Folders that match are taken with all below them, except for `**`, which goes below by itself.
    """
    any_name = all_files or spells_extension(pattern)
    for found in _glob("/", pattern.strip("/").split("/")):
        if not isinstance(found, str):
            yield found
        elif os.path.isdir(found):
            yield from () if "**" in pattern else walk(found, all_files=all_files)
        elif any_name or is_image_name(found):
            yield found
        else:
            yield LeftOut(Reason.NAME, found)


def _files(folder: str, names: _Names, is_own: bool, all_files: bool) -> Iterator[Entry]:
    for name in names.files:
        path = os.path.join(folder, name)
        if is_own or (names.is_results and name in OWN_FILES):
            yield LeftOut(Reason.OWN_RESULT, path)
        elif all_files:
            yield path
        elif name.startswith("."):
            yield LeftOut(Reason.HIDDEN, path)
        else:
            yield path if is_image_name(name) else LeftOut(Reason.NAME, path)


def _scan_once(folder: str, seen: set[tuple[int, int]]) -> _Names | tuple[Unlisted, ...]:
    """What lies in a folder, which is `seen` then; instead of that nothing if it was, or why it cannot be read."""
    try:
        status = os.stat(folder)
        names = () if (status.st_dev, status.st_ino) in seen else _scan(folder)
    except OSError as error:
        return (_unreadable(folder, error),)
    seen.add((status.st_dev, status.st_ino))
    return names


def _unreadable(folder: str, error: OSError) -> Unlisted:
    return Unlisted(folder, f"the folder cannot be read: {error.strerror}")


def _scan(folder: str) -> _Names:
    files, folders = list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if _is_folder(entry) else files).append(entry.name)
    return _Names(sorted(files), sorted(folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: what it is worth is found out when it is fetched
        return False


def _glob(folder: str, parts: Sequence[str]) -> Iterator[str | Unlisted]:
    """Like `glob.iglob`, which has no fixed order: paths in name order, one folder in memory at a time."""
    part, rest = parts[0], parts[1:]
    try:
        if part == "**":
            deeper = list(itertools.dropwhile("**".__eq__, rest)) or ["*"]
            for parent in _folders_below(folder):
                yield from (parent,) if isinstance(parent, Unlisted) else _glob(parent, deeper)
            return
        found = _matches(folder, part)
    except OSError as error:
        yield _unreadable(folder, error)
        return
    for path in found:
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _glob(path, rest)


def _folders_below(top: str) -> Iterator[str | Unlisted]:
    waiting, seen = [top], set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        names = _scan_once(folder, seen)
        if not isinstance(names, _Names):
            yield from names
            continue
        yield folder
        waiting.extend(os.path.join(folder, name) for name in reversed(names.folders) if not name.startswith("."))


def _matches(folder: str, part: str) -> list[str]:
    if not glob.has_magic(part):
        path = os.path.join(folder, part)
        return [path] if os.path.lexists(path) else []
    names = _scan(folder)
    visible = (name for name in names.files + names.folders if part.startswith(".") or not name.startswith("."))
    return [os.path.join(folder, name) for name in sorted(fnmatch.filter(visible, part))]
