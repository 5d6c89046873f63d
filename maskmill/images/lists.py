"""List files: one reference a line or a row, read as a stream. A row that gives none is an entry of its own."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH123

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from maskmill.errors import SourceError
from maskmill.images import kinds
from maskmill.images.columns import Broken, Row, cells, wanted
from maskmill.images.entries import Entry, Unlisted, up_to_a_break
from maskmill.images.parquet import read_parquet

DELIMITERS = ",;\t|"
MAX_CELL = 2**17
"""Characters of a reference, and the most that Python's csv takes for a cell: an image in a `data:` address may be
long."""

TOO_LONG = f"longer than {MAX_CELL:,} characters: save the image as a file"
BOM, UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class ListFile:
    """A list by its name (a path or an address), and how its bytes are opened."""

    name: str
    open: Callable[[], BinaryIO]

    @property
    def extension(self) -> str:
        """What its name says that it is: `.csv` of `list.csv.gz`."""
        return kinds.list_extension(self.name)

    @classmethod
    def at(cls, path: str) -> ListFile:
        """A local file."""
        return cls(path, lambda: open(path, "rb"))


def read_list(listed: ListFile, column: str | None) -> Iterator[Entry]:
    """The entries of a list, references as they are written there.

    Where it breaks off, what came before stands, and an `Unlisted` entry says why. Raises `SourceError` for a file that
    is none from the beginning, and for a column that no row has.
    """
    with _opened(listed) as file:
        yield from up_to_a_break(_entries(listed, file, column), listed.name, ERRORS)


ERRORS = (OSError, EOFError, ValueError, zlib.error, csv.Error)
"""What a file that is damaged or none of its kind raises; Unicode, JSON and Arrow errors are ValueErrors."""


def lines_of(file: Iterable[str], name: str) -> Iterator[Entry]:
    """One reference a line; blank lines and those that start with # are none."""
    for number, text in enumerate(file, 1):
        line = text.strip()
        if line and not line.startswith("#"):
            yield line if len(line) <= MAX_CELL else Unlisted(f"{name}#line={number}", TOO_LONG)


def _entries(listed: ListFile, file: BinaryIO, column: str | None) -> Iterator[Entry]:
    extension, name = listed.extension, listed.name
    if extension == kinds.PARQUET:
        yield from read_parquet(file, name, column)
    elif extension == kinds.JSON:
        yield from cells(_json_rows(file, name), name, column)
    elif extension in kinds.TABLES:
        yield from cells(_table_rows(_as_text(file, name), extension, column), name, column)
    elif extension in kinds.JSON_LINES:
        yield from cells(_json_lines(_as_text(file, name)), name, column)
    else:
        yield from lines_of(_as_text(file, name), name)


@contextmanager
def _opened(listed: ListFile) -> Iterator[BinaryIO]:
    with listed.open() as raw:
        if kinds.extension(listed.name) == kinds.GZIP:
            with gzip.open(raw) as unpacked:
                yield cast("BinaryIO", unpacked)
        else:
            yield raw


def _as_text(file: BinaryIO, name: str) -> Iterator[str]:
    """Its lines; a name in it that is not UTF-8 is kept for its own entry to say so."""
    head = _peek(file)
    if head.startswith(UTF_16):  # what spreadsheets call Unicode text
        return io.TextIOWrapper(file, "utf-16", newline="")
    if b"\0" in head:
        raise SourceError(f"{name} cannot be read: it is not text")
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError as error:
            if not line.isspace():
                yield Broken(f"the line is not JSON ({error})")


def _json_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    """The objects of a JSON array, or COCO's `images`; read as a stream."""
    import ijson  # few lists are JSON documents

    if _peek(file).startswith(BOM):
        file.read(len(BOM))
    is_array = _peek(file).lstrip().startswith(b"[")
    some = is_array
    try:
        for row in ijson.items(file, "item" if is_array else "images.item", use_float=True):
            some = True
            yield row
    except ijson.JSONError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not some:
        raise SourceError(f"{name} is JSON, but neither an array nor COCO's {{'images': […]}}: name another list")


def _table_rows(lines: Iterator[str], extension: str, column: str | None) -> Iterator[Row]:
    """A row for each line after the header; comments and Excel's `sep=;` may stand before it."""
    head = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = None
    if head.strip().lower().startswith("sep="):
        delimiter, head = head.strip()[4:] or ",", next(lines, "")
    first = "\t" if extension == ".tsv" else ","
    delimiter = delimiter or _delimiter(head, first, column)
    rows = csv.reader(itertools.chain([head], lines), delimiter=delimiter, skipinitialspace=True)
    names = [name.strip() for name in next(rows, [])]
    while True:
        try:
            for row in rows:
                if row:
                    yield dict(zip(names, row, strict=False))
        except csv.Error as error:
            yield Broken(f"the row is not of the table ({error})")
            continue
        return


def _delimiter(head: str, first: str, column: str | None) -> str:
    """The delimiter with which the header names the wanted column; else the one that gives most names."""
    order = first + DELIMITERS.replace(first, "")
    names = {each: [n.strip() for n in next(csv.reader([head], delimiter=each), [])] for each in order}
    fitting = (each for each in order if wanted(names[each], column))
    return next(fitting, None) or max(order, key=lambda each: len(names[each]))


def _peek(file: BinaryIO) -> bytes:
    """The beginning of what comes, which is not taken."""
    return cast("io.BufferedReader", file).peek(4096)
