"""From what a user typed to a stream of entries: nothing is fetched but lists, and memory stays flat.

A source is a file, a folder, a glob, an archive, an `http(s)://` or `s3://` address, a list, or `-` for stdin.
docs/sources.md has the rules.
"""

# Paths stay strings, as a Path apiece is several times slower and there may be millions.
# ruff: noqa: PTH109, PTH112, PTH120

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TextIO
from urllib.parse import urlsplit

from maskmill.addresses import bucket_of, nested, scheme_of, split_object, without_query
from maskmill.errors import ImageError, SourceError
from maskmill.images import archives, buckets, folders
from maskmill.images.buckets import Lister
from maskmill.images.entries import Entry, LeftOut, Reason, Unlisted, up_to_a_break, writable
from maskmill.images.kinds import Kind, is_image_name, kind_of_file, kind_of_name, spells_extension
from maskmill.images.lists import ListFile, lines_of, read_list
from maskmill.images.references import STDIN, describe, is_data, local_path, resolved


@dataclass(frozen=True)
class Reach:
    """What lies elsewhere: `list_objects` lists a bucket, `read` gives the bytes of a list at an address."""

    list_objects: Lister
    read: Callable[[str], bytes]


def expand(
    sources: Iterable[str],
    *,
    reach: Reach,
    column: str | None = None,
    all_files: bool = False,
    stdin: TextIO | None = None,
) -> Iterator[Entry]:
    """Yield absolute local paths and addresses in a fixed order, and each entry that gives none.

    `column` names the column of tables; `all_files` takes files whatever their names; `stdin` None means the process's
    own. Each line of a list is taken as one image: whether that is there is found out when it is fetched.
    Raises `SourceError`, with the cure, on reaching a source that is not there or is no list from its beginning.
    """
    way = _Way(reach, column, all_files)
    for source in sources:
        yield from _known_text(_some(way.expand(source, stdin), source))


def check(source: str) -> None:
    """Raise `SourceError` for a source that cannot be one: nothing is there, or its scheme is unknown."""
    path, scheme = local_path(source), scheme_of(source)
    if path and not os.path.lexists(path) and not glob.has_magic(path):
        raise SourceError(f"{path}: no such file or folder: check the spelling and the current directory")
    if scheme == "s3" and not bucket_of(source):
        raise SourceError(f"{source} names no bucket: write s3://bucket/prefix/")
    if not (path or source == STDIN or scheme in ("s3", "http", "https") or is_data(source) or nested(source)):
        shown = without_query(source)
        raise SourceError(f"'{shown}' cannot be read: use a path, a glob, http(s)://, s3://, or - for stdin")


def never_repeats(sources: Sequence[str]) -> bool:
    """Whether no image can come twice: of one folder or one prefix alone, which are listed once."""
    if len(sources) != 1:
        return False
    path, scheme = local_path(sources[0]), scheme_of(sources[0])
    return os.path.isdir(path) if path else scheme == "s3" and not glob.has_magic(sources[0]) and sources[0][-1] == "/"


@dataclass(frozen=True)
class _Way:
    """How sources are expanded."""

    reach: Reach
    column: str | None
    all_files: bool

    def expand(self, source: str, stdin: TextIO | None) -> Iterator[Entry]:
        check(source)
        if path := local_path(source):
            return self.path(path)
        if source == STDIN:
            return resolved(lines_of(_lenient(stdin or sys.stdin), STDIN), os.getcwd())
        if is_data(source) or nested(source):
            return resolved([source], os.getcwd())
        if scheme_of(source) == "s3":
            return self.objects(f"s3://{source.partition('://')[2]}")  # S3:// is one, too
        return self.address(source, urlsplit(source).path) or iter([source])

    def address(self, address: str, name: str) -> Iterator[Entry] | None:
        """The entries of a list at an address; None for anything but one by its name."""
        kind = kind_of_name(name)
        if kind in (Kind.ZIP, Kind.TAR, Kind.PACKED):
            raise SourceError(f"{without_query(address)}: archives are read in place only on disk: download it first")
        fetched = ListFile(without_query(address), lambda: self.fetched(address))
        return self.listed(fetched) if kind is Kind.LIST else None

    def path(self, path: str) -> Iterator[Entry]:
        if os.path.isdir(path):
            return folders.walk(path, all_files=self.all_files)
        return self.file(path) if os.path.lexists(path) else self.matches(path)

    def file(self, path: str) -> Iterator[Entry]:
        kind = kind_of_file(path)
        if kind is Kind.LIST:
            return self.listed(ListFile.at(path))
        if kind in (Kind.ZIP, Kind.TAR):
            return self.archive(path, kind)
        if kind is Kind.IMAGE or self.all_files:
            return iter([path])
        return iter([LeftOut(Reason.PACKED if kind is Kind.PACKED else Reason.UNKNOWN_KIND, path)])

    def matches(self, pattern: str) -> Iterator[Entry]:
        spelled = spells_extension(pattern)
        for found in folders.matches(pattern, all_files=self.all_files):
            if isinstance(found, str) and spelled and not is_image_name(found):
                try:
                    yield from self.file(found)
                except (SourceError, OSError) as error:
                    yield Unlisted(found, str(error))
            else:
                yield found

    def archive(self, path: str, kind: Kind) -> Iterator[Entry]:
        return up_to_a_break(archives.members(path, kind, all_files=self.all_files), path, archives.ERRORS)

    def listed(self, listed: ListFile) -> Iterator[Entry]:
        local = listed.name.startswith("/")
        return resolved(read_list(listed, self.column), os.path.dirname(listed.name) if local else listed.name)

    def objects(self, url: str) -> Iterator[Entry]:
        _, key, version = split_object(url)
        if glob.has_magic(key):
            return self.matching_objects(url)
        if listed := self.address(url, key):
            return listed
        if version or is_image_name(key):
            return iter([url])
        if not key or key.endswith("/"):
            return buckets.below(url, self.reach.list_objects, all_files=self.all_files)
        return self.prefix(url)

    def matching_objects(self, pattern: str) -> Iterator[Entry]:
        spelled = spells_extension(pattern)
        for found in buckets.matches(pattern, self.reach.list_objects, all_files=self.all_files):
            if isinstance(found, str) and spelled:
                try:
                    yield from self.address(found, found) or (found,)
                except SourceError as error:
                    yield Unlisted(found, str(error))
            else:
                yield found

    def prefix(self, url: str) -> Iterator[Entry]:
        """What lies below a prefix that is written without its slash; else the object of that name."""
        found = buckets.below(f"{url}/", self.reach.list_objects, all_files=self.all_files)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
        elif next(self.reach.list_objects(url), None) == url:
            yield url

    def fetched(self, address: str) -> BinaryIO:
        try:
            return io.BufferedReader(io.BytesIO(self.reach.read(address)))
        except ImageError as error:
            raise SourceError(f"the list cannot be read: {error}") from error


def _some(entries: Iterator[Entry], source: str) -> Iterator[Entry]:
    """The entries themselves; a source without any is one that is left out."""
    try:
        first = next(entries, None)
    except OSError as error:
        raise SourceError(f"{writable(source)} cannot be read: {error.strerror or error}") from error
    yield first if first is not None else LeftOut(Reason.EMPTY, writable(describe(source)))
    yield from entries


def _known_text(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, with names that any record can hold: one that is not UTF-8 fits into no JSON."""
    for entry in entries:
        if isinstance(entry, str):
            if entry.isascii() or _is_utf8(entry):
                yield entry
            else:
                yield Unlisted(writable(entry), "the name is not UTF-8: rename the file")
        elif isinstance(entry, Unlisted):
            yield Unlisted(writable(entry.name), writable(entry.problem))
        else:
            yield LeftOut(entry.reason, writable(entry.name))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lenient(stdin: TextIO) -> TextIO:
    """Standard input, whose lines that are not UTF-8 are entries of their own."""
    if isinstance(stdin, io.TextIOWrapper):
        stdin.reconfigure(errors="surrogateescape")
    return stdin
