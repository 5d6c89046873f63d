"""Images in a local .zip or .tar file, read in place: nothing is unpacked, no member becomes a path."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from maskmill.addresses import nest
from maskmill.errors import ImageNotFound, ImageTruncated, ImageUnsupported, one_line
from maskmill.images.entries import Entry, LeftOut, Reason, writable
from maskmill.images.kinds import Kind, is_image_name
from maskmill.images.limits import check_size
from maskmill.storage.download import Download, file_version

ARCHIVES_KEPT = 4
"""Archives of which a process keeps open files and the places of their members."""


ERRORS = (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)
"""What a file that is no archive, or is damaged, raises."""


def members(path: str, kind: Kind, *, all_files: bool) -> Iterator[Entry]:
    """All files in an archive, in its order: images by name (or all) as `zip://a/b.jpg::PATH`, and what is left out.

    Raises one of `ERRORS` for what is no such archive.
    """
    scheme, names = ("zip", _in_zip(path)) if kind is Kind.ZIP else ("tar", _in_tar(path))
    for name in names:
        found = nest(scheme, name, path)
        if all_files:
            yield found
        elif any(part.startswith(".") and part.strip(".") for part in name.split("/")):
            yield LeftOut(Reason.HIDDEN, writable(found))
        else:
            yield found if is_image_name(name) else LeftOut(Reason.NAME, writable(found))


def _in_zip(path: str) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        yield from (info.filename for info in archive.infolist() if not info.is_dir())


def _in_tar(path: str) -> Iterator[str]:
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
            if info.isfile():
                yield _member(info)


def _member(info: tarfile.TarInfo) -> str:
    """A member's name: `tar cf x.tar .` writes `./a.jpg` for `a.jpg`."""
    return info.name.removeprefix("./")


def read_member(scheme: str, path: Path, name: str, max_bytes: int, known: str | None) -> Download:
    """One member's bytes, and a version that changes with them.

    Raises `ImageNotFound`, `ImageTooLarge`, `ImageTruncated` or `ImageUnsupported`, and `OSError` as files do.
    """
    stamp = file_version(path.stat())
    read = _read_zip if scheme == "zip" else _read_tar
    try:
        return read(str(path), stamp, name, max_bytes, known)
    except KeyError as error:
        raise ImageNotFound(f"{path}: has no member {name!r}") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise ImageTruncated(f"{path}: the archive is damaged: {one_line(error)}") from error
    except (NotImplementedError, RuntimeError) as error:  # a compression that Python lacks, a password
        raise ImageUnsupported(f"{path}: {one_line(error)}") from error


def _read_zip(path: str, stamp: str, name: str, max_bytes: int, known: str | None) -> Download:
    archive = _zip(path, stamp)
    info = archive.getinfo(name)
    version = f"crc:{info.CRC:08x}-{info.file_size:x}"
    if version == known:
        return Download(version)
    check_size(info.file_size, max_bytes, f"{path}: a member of")
    with archive.open(info) as member:
        return Download(version, member.read())


def _read_tar(path: str, stamp: str, name: str, max_bytes: int, known: str | None) -> Download:
    if stamp == known:
        return Download(stamp)
    places, file = _tar(path, stamp)
    start, size = places[name]
    check_size(size, max_bytes, f"{path}: a member of")
    data = os.pread(file.fileno(), size, start)
    if len(data) != size:
        raise EOFError("the member ends early")
    return Download(stamp, data)


def _zip(path: str, stamp: str) -> zipfile.ZipFile:
    with _OPENING:
        return _opened_zip(path, stamp, os.getpid())


def _tar(path: str, stamp: str) -> tuple[dict[str, tuple[int, int]], BinaryIO]:
    with _OPENING:
        return _opened_tar(path, stamp, os.getpid())


_OPENING = threading.Lock()
"""One archive is opened at a time: its directory may be long. A process that was forked opens its own files."""


@lru_cache(ARCHIVES_KEPT)
def _opened_zip(path: str, _stamp: str, _process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@lru_cache(ARCHIVES_KEPT)
def _opened_tar(path: str, _stamp: str, _process: int) -> tuple[dict[str, tuple[int, int]], BinaryIO]:
    """Where each member's bytes are: first byte and number; and the file."""
    with tarfile.open(path, "r:") as archive:
        places = {_member(info): (info.offset_data, info.size) for info in archive if info.isfile()}
    return places, open(path, "rb")  # which is closed when it is dropped
