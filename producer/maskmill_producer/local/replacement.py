"""Results that take the place of earlier ones: what still holds is taken over, what is no longer part is removed.

What a user has put into the folder himself stays, a copy of a mask included, if no account of ours names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from maskmill.errors import InvalidRecord
from maskmill.images.folders import MASKS, METADATA
from maskmill.schema import outcome_in
from maskmill_producer.local.folder import PARTS, REPLACED, Folder, header_of


def set_masks_aside(folder: Folder) -> None:
    """Keep the masks of the results that are replaced where `Folder.holds` finds them again: those of their account.

    An interrupted run has left no account: then all masks of ours are set aside. What it has set aside itself stays
    there; its masks that are in place again are made way for.
    """
    masks, aside, metadata = folder.masks, folder.root / REPLACED, folder.root / METADATA
    if metadata.is_file():
        for key in accounted(metadata):
            _set_aside(folder, PurePosixPath(key).relative_to(MASKS))
    elif masks == folder.root:
        aside.mkdir(exist_ok=True)
        for path in [each for each in masks.iterdir() if each.name not in (REPLACED, PARTS)]:
            if path.is_dir() and not path.is_symlink():
                _move_all(path, aside / path.name)
            elif header_of(path):
                path.replace(aside / path.name)
    elif aside.exists() and masks.exists():
        _move_all(masks, aside)
    elif masks.exists():
        masks.rename(aside)


def drop_masks_aside(folder: Folder) -> int:
    """Remove the masks that the new results have not taken over; files that are none of ours go back.

    Returns how many have no successor in their place.
    """
    aside, masks, gone = folder.root / REPLACED, folder.masks, 0
    for path in _files(aside):
        if header_of(path):
            place = masks / path.relative_to(aside)
            gone += not place.exists()
            path.unlink()
            drop_empty(place.parent, masks)
    _move_all(aside, masks)
    return gone


def accounted(metadata: Path) -> Iterator[str]:
    """The mask keys that a `metadata.jsonl` names; a line that is none of ours names none."""
    with metadata.open("rb") as lines:
        for line in lines:
            with suppress(InvalidRecord):
                if key := outcome_in(line).mask_key:
                    yield key


def drop_empty(folder: Path, root: Path) -> None:
    """Remove a folder below `root`, and those above it, as far as they are empty."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _set_aside(folder: Folder, name: PurePosixPath) -> None:
    source, target = folder.masks / name, folder.root / REPLACED / name
    if source.is_file() and source.parent.resolve().is_relative_to(folder.root):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _files(root: Path) -> Iterator[Path]:
    """All files below, depth first; links are not followed, and folders that are empty by then are removed."""
    for folder, _, names in os.walk(root, topdown=False):
        yield from (Path(folder) / name for name in names)
        with suppress(OSError):
            Path(folder).rmdir()


def _move_all(source: Path, target: Path) -> None:
    """Move what lies below `source`; where a place is taken, a mask of ours is removed and anything else stays."""
    for path in _files(source):
        place = target / path.relative_to(source)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
        elif header_of(path):
            path.unlink()
