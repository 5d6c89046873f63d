"""Parquet tables: a column of references, or images in the rows themselves, as data sets of Hugging Face have them."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from maskmill.addresses import nest
from maskmill.errors import ImageNotFound, ImageTooLarge, ImageUnsupported, SourceError, one_line
from maskmill.images.columns import cells, choose
from maskmill.images.entries import Entry, LeftOut, Reason

ROWS = 8192
ROWS_WITH_BYTES = 16
TABLES_KEPT = 4


def read_parquet(file: BinaryIO, name: str, column: str | None) -> Iterator[Entry]:
    """The references of one column. A row that holds its image is `parquet://COLUMN/ROW::FILE`; no pixel is read."""
    import pyarrow as pa  # takes long to import, and few lists are parquet
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        chosen = choose(schema.names, name, column)
        kind = schema.field(chosen).type
        if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            yield from _image_rows(table, name, chosen)
        elif not _is_text(pa.types, kind):
            raise SourceError(f"{name} has no text in column '{chosen}', but {kind}: name another with --column")
        else:
            batches = table.iter_batches(batch_size=ROWS, columns=[chosen])
            yield from cells((row for batch in batches for row in batch.to_pylist()), name, chosen)


def _is_text(types: Any, kind: Any) -> bool:
    value = kind.value_type if types.is_dictionary(kind) else kind
    return any(test(value) for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_null))


def _image_rows(table: Any, name: str, column: str) -> Iterator[Entry]:
    if not name.startswith("/"):
        raise SourceError(f"{name} has images in its rows: download the file, and name that")
    leaves = [table.schema.column(index).path for index in range(len(table.schema))]
    in_row = next((leaf for leaf in (f"{column}.bytes", column) if leaf in leaves), None)
    row = 0
    for group in range(table.num_row_groups):
        for has_bytes, path in _rows(table, group, leaves, in_row, f"{column}.path"):
            if has_bytes:
                yield nest("parquet", f"{quote(column, safe='')}/{row}", name)
            else:
                yield path.strip() if path and path.strip() else LeftOut(Reason.EMPTY, f"{name}#row={row + 1}")
            row += 1


def _rows(
    table: Any, group: int, leaves: list[str], in_row: str | None, path: str
) -> Iterator[tuple[bool, str | None]]:
    """For each row of a group whether it has bytes, and its path. Bytes are read only where some rows lack them."""
    facts = table.metadata.row_group(group)
    nulls = _nulls(facts, leaves.index(in_row)) if in_row else facts.num_rows
    paths = _column(table, group, path, ROWS) if path in leaves and nulls else iter(lambda: None, 0)
    if nulls in (0, facts.num_rows):
        yield from ((not nulls, next(paths)) for _ in range(facts.num_rows))
    else:
        assert in_row  # noqa: S101 - else all rows would be without
        yield from ((cell is not None, next(paths)) for cell in _column(table, group, in_row, ROWS_WITH_BYTES))


def _nulls(facts: Any, leaf: int) -> int | None:
    statistics = facts.column(leaf).statistics
    return statistics.null_count if statistics and statistics.has_null_count else None


def _column(table: Any, group: int, leaf: str, rows: int) -> Iterator[Any]:
    first, _, below = leaf.partition(".")
    for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=[leaf], use_threads=False):
        for cell in batch.column(first).to_pylist():
            yield cell.get(below) if below and cell else cell


def read_row(path: Path, inside: str, max_bytes: int) -> bytes:
    """The image in a row: `read_row(Path("train.parquet"), "image/17", 2**28)`.

    The group of rows that it is in is read as a whole, and kept for the next ones. Raises `ImageNotFound` where there
    is none, `ImageTooLarge` and `ImageUnsupported`.
    """
    column, _, row = inside.rpartition("/")
    changed = path.stat().st_mtime_ns
    with _READING:
        try:
            ends = _ends_of_groups(str(path), changed)
            if not row.isdecimal() or int(row) >= ends[-1]:
                raise ImageNotFound(f"{path}: has no row {row}")
            group = bisect_right(ends, int(row))
            found = _group(str(path), changed, unquote(column), group, max_bytes)
            cell = found[int(row) - (ends[group - 1] if group else 0)].as_py()
        except (ValueError, KeyError, EOFError) as error:  # Arrow's errors are ValueErrors
            raise ImageUnsupported(f"{path}: {one_line(error)}") from error
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise ImageNotFound(f"{path}: row {row} has no image in column '{unquote(column)}'")
    return data


_READING = threading.Lock()
"""One group of rows is read at a time in a process."""


@lru_cache(TABLES_KEPT)
def _ends_of_groups(path: str, _changed: int) -> list[int]:
    """For each group of rows the number of the first row after it."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as table:
        groups = range(table.num_row_groups)
        return list(accumulate(table.metadata.row_group(group).num_rows for group in groups)) or [0]


@lru_cache(1)
def _group(path: str, _changed: int, column: str, group: int, max_bytes: int) -> Any:
    """The cells of one column in a group of rows."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as table:
        facts = table.metadata.row_group(group)
        leaves = (facts.column(index) for index in range(facts.num_columns))
        size = sum(leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.partition(".")[0] == column)
        if size > max_bytes:
            raise ImageTooLarge(
                f"{path}: the {facts.num_rows:,} rows of a group have {size:,} bytes, more than {max_bytes:,}, the "
                "worker's limit for one read: write the file with fewer rows a group"
            )
        return table.read_row_group(group, columns=[column], use_threads=False).column(column)
