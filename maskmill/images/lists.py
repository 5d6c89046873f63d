"""List files: one reference a line or a row, read as a stream."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH122, PTH123

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from maskmill.errors import SourceError

COLUMNS = ("uri", "url", "image", "path", "file", "file_name")
"""Columns of a list that are looked for, in this order and in any case, when the user names none."""


def read_list(path: str, column: str | None) -> Iterator[str]:
    """The references of a .txt, .csv, .jsonl or .parquet file, as they are written there.

    Raises `SourceError` for a column that is not there, `ValueError` for text that is not of the file's format.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension == ".parquet":
        yield from _cells(_parquet_rows(path, column), path, column)
        return
    with open(path, encoding="utf-8-sig", newline="") as file:
        if extension == ".txt":
            yield from lines_of(file)
        else:
            lines = (json.loads(line) for line in file if line.strip())
            yield from _cells(csv.DictReader(file) if extension == ".csv" else lines, path, column)


def lines_of(file: Iterable[str]) -> Iterator[str]:
    """One reference a line; blank lines and those that start with # are none."""
    return (line for line in map(str.strip, file) if line and not line.startswith("#"))


def _parquet_rows(path: str, column: str | None) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq  # takes long to import, and few lists are parquet

    with pq.ParquetFile(path) as table:
        chosen = _choose(table.schema_arrow.names, path, column)
        for batch in table.iter_batches(batch_size=8192, columns=[chosen]):
            yield from batch.to_pylist()


def _cells(rows: Iterable[Any], path: str, column: str | None) -> Iterator[str]:
    """The texts of one column, without the empty ones; the first row's names decide which column it is."""
    chosen = None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise SourceError(f"{path}: row {number} is not a JSON object")
        chosen = chosen or _choose([name for name in row if name], path, column)
        cell = row.get(chosen, ...)
        if cell is not None and not isinstance(cell, str):
            raise ValueError(f"row {number} has no text in column '{chosen}': name another with --column")
        if cell and cell.strip():
            yield cell.strip()


def _choose(names: list[str], path: str, column: str | None) -> str:
    """The column to read; raises `SourceError` naming the columns that there are."""
    lower = {name.lower(): name for name in reversed(names)}
    chosen = column or next((lower[name] for name in COLUMNS if name in lower), None)
    if chosen not in names:
        wanted = f"column '{column}'" if column else f"column {', '.join(COLUMNS)}"
        raise SourceError(f"{path} has no {wanted}, but {', '.join(names)}: name one with --column")
    return chosen
