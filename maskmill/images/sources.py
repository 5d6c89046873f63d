"""From what a user typed to a stream of image addresses: nothing is fetched, and memory stays flat.

A source is a file, a folder, a glob, an `http(s)://` or `s3://` address, a list file, or `-` for stdin.
"""

# Paths stay strings, as a Path apiece is several times slower and there may be millions.
# ruff: noqa: PTH100, PTH109, PTH110, PTH112, PTH116, PTH118, PTH120, PTH122

from __future__ import annotations

import csv
import fnmatch
import glob
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from maskmill.addresses import bucket_of, file_path, scheme_of, split_url
from maskmill.errors import SourceError
from maskmill.images.lists import lines_of, read_list

Lister = Callable[[str], Iterator[str]]
"""Gives every object below an `s3://bucket/prefix` as a full `s3://` address."""

IMAGE_EXTENSIONS = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".mpo"}
)
"""What counts as an image in a folder, a glob or an S3 prefix: the extensions of `maskmill.images.decode.FORMATS`."""

LIST_EXTENSIONS = frozenset({".txt", ".csv", ".jsonl", ".parquet"})
STDIN = "-"


def expand(
    sources: Iterable[str],
    *,
    column: str | None = None,
    list_objects: Lister,
    stdin: TextIO | None = None,
) -> Iterator[str]:
    """Yield absolute local paths, `http(s)://` and `s3://bucket/key` addresses, in a fixed order.

    `column` names the column of csv, jsonl and parquet lists; `stdin` None means the process's own. Each line
    of a list is taken as one image: whether that is there is found out when it is fetched.
    Raises `SourceError`, with the cure, on reaching a source that names nothing or cannot be read.
    """
    for source in sources:
        try:
            for uri in _expand(source, column, list_objects, stdin):
                uri.encode()  # a name that is not UTF-8 fits into no JSON record: stop before the job begins
                yield uri
        except (OSError, ValueError, csv.Error) as error:  # Unicode, JSON and Arrow errors are ValueErrors
            raise SourceError(f"{ascii(source)[1:-1]} cannot be read: {_reason(error)}") from error


def describe(source: str) -> str:
    """The form in which a source is recorded: an absolute path or glob, an address unchanged, or `-`."""
    return _local_path(source) or source


def local_base(sources: Iterable[str]) -> str | None:
    """The common parent folder of all local sources, below which masks get short keys; None without any.

    A file or a folder counts with its parent, a glob with the parent of its fixed folder, a list with its
    folder, standard input with the current directory.
    """
    paths = [os.path.abspath(STDIN) if source == STDIN else _local_path(source) for source in sources]
    parents = [os.path.dirname(_fixed_part(path)) for path in paths if path]
    return os.path.commonpath(parents) if parents else None


def is_image_name(name: str) -> bool:
    """Whether the name's extension is one of `IMAGE_EXTENSIONS`, in any case."""
    return _extension(name) in IMAGE_EXTENSIONS


def _expand(source: str, column: str | None, list_objects: Lister, stdin: TextIO | None) -> Iterator[str]:
    if path := _local_path(source):
        return _expand_path(path, column)
    if source == STDIN:
        lines = _resolved(lines_of(stdin or sys.stdin), os.getcwd())
        return _some(lines, "standard input is empty: pipe one image a line into it")
    scheme = scheme_of(source)
    if scheme == "s3":
        return _expand_s3(source, list_objects)
    if scheme in ("http", "https"):
        return iter([source])
    raise SourceError(f"'{source}' cannot be read: use a path, a glob, http(s)://, s3://, or - for stdin")


def _expand_path(path: str, column: str | None) -> Iterator[str]:
    if os.path.isdir(path):
        return _some(_walk(path), f"{path} has no images: name a folder with .jpg, .png, .tif… files in it")
    if os.path.exists(path):
        return _expand_file(path, column)
    if glob.has_magic(path):
        return _some(_expand_glob(path, column), f"{path} matches no image: check the pattern")
    raise SourceError(f"{path}: no such file or folder: check the spelling and the current directory")


def _expand_file(path: str, column: str | None) -> Iterator[str]:
    if _extension(path) not in LIST_EXTENSIONS:
        return iter([path])
    references = _resolved(read_list(path, column), os.path.dirname(path))
    return _some(references, f"{path} lists no images: put one into each line or row")


def _expand_glob(pattern: str, column: str | None) -> Iterator[str]:
    """Files that match count like named ones if the pattern spells their extension, else if they are images.

    Folders that match are taken with all below them, except for `**`, which goes below by itself.
    """
    spelled = bool(_extension(pattern)) and not glob.has_magic(_extension(pattern))
    for path in _glob("/", pattern.strip("/").split("/")):
        if os.path.isdir(path):
            yield from () if "**" in pattern else _walk(path)
        elif spelled or is_image_name(path):
            yield from _expand_file(path, column)


def _expand_s3(source: str, list_objects: Lister) -> Iterator[str]:
    if not bucket_of(source):
        raise SourceError(f"{source} names no bucket: write s3://bucket/prefix/")
    _, key = split_url(f"s3://{source.partition('://')[2]}")  # S3:// is one, too
    if key and not key.endswith("/"):
        return iter([source])
    images = (uri for uri in list_objects(source) if is_image_name(uri))
    return _some(images, f"{source} has no images: check the prefix, .jpg, .png, .tif… objects count")


def _some(references: Iterator[str], cure: str) -> Iterator[str]:
    """The references themselves; raises `SourceError` in place of an empty stream."""
    first = next(references, None)
    if first is None:
        raise SourceError(cure)
    yield first
    yield from references


def _walk(folder: str) -> Iterator[str]:
    for parent, names in _tree(folder):
        yield from (os.path.join(parent, name) for name in names if is_image_name(name))


def _tree(top: str) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files) for `top` and all below it, in name order; hidden entries are skipped.

    Links to folders are followed; a folder that is reached twice is given once, so links cannot go round.
    """
    waiting, seen = [top], set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            names, folders = _scan(folder)
            yield folder, names
            waiting.extend(os.path.join(folder, name) for name in reversed(folders))


def _scan(folder: str) -> tuple[list[str], list[str]]:
    """Sorted names of the files and of the folders that are directly in `folder` and not hidden."""
    files, folders = list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(files), sorted(folders)


def _glob(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Like `glob.iglob`, which has no fixed order: paths in name order, one folder in memory at a time."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        deeper = list(itertools.dropwhile("**".__eq__, rest)) or ["*"]
        for parent, _ in _tree(folder):
            yield from _glob(parent, deeper)
        return
    for path in _matches(folder, part):
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _glob(path, rest)


def _matches(folder: str, part: str) -> list[str]:
    if not glob.has_magic(part):
        path = os.path.join(folder, part)
        return [path] if os.path.lexists(path) else []
    files, folders = _scan(folder)
    return [os.path.join(folder, name) for name in sorted(fnmatch.filter(files + folders, part))]


def _resolved(references: Iterable[str], folder: str) -> Iterator[str]:
    for reference in references:
        scheme = scheme_of(reference)
        if not scheme:
            yield os.path.normpath(os.path.join(folder, reference))
        else:
            yield describe(reference) if scheme == "file" else reference


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"the name {error.object!a} is not UTF-8: rename it"
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error).split("\n")[0]


def _local_path(source: str) -> str | None:
    """The absolute path of a local source or `file:///…` address (RFC 8089), None for any other or none."""
    scheme = scheme_of(source)
    if scheme == "file":
        return file_path(source)
    return None if scheme or source in (STDIN, "") else os.path.abspath(source)


def _fixed_part(path: str) -> str:
    """The path up to its first component with a wildcard; all of it where it exists or has none."""
    if os.path.exists(path):
        return path
    return "/" + "/".join(itertools.takewhile(lambda part: not glob.has_magic(part), path[1:].split("/")))


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()
