"""The column of a table that holds the references, and its cells as entries."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from maskmill.errors import SourceError
from maskmill.images.entries import Entry, LeftOut, Reason, Unlisted

COLUMNS = ("uri", "url", "image", "path", "file", "file_name")
"""Columns of a list that are looked for, in this order and in any case, when the user names none."""

LOOKED_AT = 100
"""Rows at the beginning that may lack the column before the list counts as one without it."""


class Broken(str):
    """A row that could not be read, and why."""

    __slots__ = ()


Row: TypeAlias = Mapping[str, Any] | str | Broken | None
"""A row of a table, or the reference itself."""


def cells(rows: Iterable[Row], name: str, column: str | None) -> Iterator[Entry]:
    """The references in one column. A row without it, or with something else in it, is an `Unlisted` entry.

    `{"image": {"path": "a.jpg"}}`, as data sets of Hugging Face have it, counts as `{"image": "a.jpg"}`, and
    `{"data": {"image": "a.jpg"}}` has a column `data.image`. Raises `SourceError` naming the columns that there are.
    """
    iterator = iter(rows)
    first = list(_until_it_is_clear(iterator, column))
    chosen = _chosen(first, name, column)
    for number, row in enumerate(itertools.chain(first, iterator), 1):
        cell = row.get(chosen) if type(row) is dict else row
        if type(cell) is str and (text := cell.strip()):
            yield text
        else:
            yield _unusual(row, chosen, f"{name}#row={number}")


def _until_it_is_clear(rows: Iterator[Row], column: str | None) -> Iterator[Row]:
    """The first rows, up to one that has the column or is a reference itself: no more is waited for."""
    for row in itertools.islice(rows, LOOKED_AT):
        yield row
        if wanted(list(row), column) if isinstance(row, Mapping) else type(row) is str:
            return


def wanted(names: Sequence[str], column: str | None) -> str | None:
    """The column to read of those that there are: the named one, or the first that is looked for."""
    if column:
        return column if column in names else None
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in COLUMNS if name in lower), None)


def choose(names: Sequence[str], name: str, column: str | None) -> str:
    """The column to read; raises `SourceError` naming the columns that there are."""
    chosen = wanted(names, column) or _nested(names, column)
    if chosen is None:
        missing = f"column '{column}'" if column else f"column {', '.join(COLUMNS)}"
        raise SourceError(
            f"{name} has no {missing}, but {', '.join(names) or 'none'}: name one with --column "
            "(a list without a header is a .txt file, with a reference a line)"
        )
    return chosen


def _chosen(rows: Sequence[Row], name: str, column: str | None) -> str:
    broken = [row for row in rows if not isinstance(row, Mapping | str | None) or isinstance(row, Broken)]
    if broken and len(broken) == len(rows):
        raise SourceError(f"{name} cannot be read: row 1: {_problem(broken[0])}")
    names = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in _names(row)))
    return choose(names, name, column) if names else ""  # the rows are the references


def _names(row: Mapping[str, Any]) -> Iterator[str]:
    for key, value in row.items():
        if key:
            yield key
            if isinstance(value, Mapping) and not _is_image(value):
                yield from (f"{key}.{below}" for below in value)


def _nested(names: Sequence[str], column: str | None) -> str | None:
    if column:
        return None
    last = {name.rpartition(".")[2].lower(): name for name in reversed(names) if "." in name}
    return next((last[name] for name in COLUMNS if name in last), None)


def _is_image(value: object) -> bool:
    return isinstance(value, Mapping) and bool({"path", "bytes"} & set(value))


def _problem(row: object) -> str:
    return str(row) if isinstance(row, Broken) else "neither a text nor a JSON object"


def _unusual(row: Row, column: str, where: str) -> Entry:
    """A row whose cell is not simply text."""
    if isinstance(row, Broken) or not isinstance(row, Mapping | str | None):
        return Unlisted(where, _problem(row))
    if not isinstance(row, Mapping):
        text = (row or "").strip()
        return text or LeftOut(Reason.EMPTY, where)
    cell, there = row.get(column), column in row
    if not there and "." in column:
        above = row.get(column.partition(".")[0])
        cell, there = (above.get(column.partition(".")[2]), True) if isinstance(above, Mapping) else (None, False)
    if not there:
        return Unlisted(where, f"the row has no column '{column}'")
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str):
        cell = cell["path"]
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return LeftOut(Reason.EMPTY, where)
    return cell.strip() if isinstance(cell, str) else Unlisted(where, f"there is no text in column '{column}'")
