"""Sources expanded without servers: the entries by what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskmill.errors import ImageNotFound
from maskmill.images import sources
from maskmill.images.buckets import Lister
from maskmill.images.entries import Entry, LeftOut, Unlisted
from maskmill.images.sources import Reach


def no_objects(uri: str) -> Iterator[str]:
    yield from ()


def no_list(address: str) -> bytes:
    raise ImageNotFound(address)


def entries(*names: str | Path, list_objects: Lister = no_objects, **options: Any) -> list[Entry]:
    reach = Reach(list_objects, options.pop("read", no_list))
    return list(sources.expand([str(name) for name in names], reach=reach, **options))


def expand(*names: str | Path, **options: Any) -> list[str]:
    return [entry for entry in entries(*names, **options) if isinstance(entry, str)]


def left_out(*names: str | Path, **options: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries(*names, **options):
        if isinstance(entry, LeftOut):
            found.setdefault(entry.reason.value, []).append(entry.name)
    return found


def unlisted(*names: str | Path, **options: Any) -> dict[str, str]:
    return {entry.name: entry.problem for entry in entries(*names, **options) if isinstance(entry, Unlisted)}
