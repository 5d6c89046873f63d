"""Lines of JSON that show the types of their columns in the first hundred, where readers look for them."""

from __future__ import annotations

from typing import BinaryIO

HEAD = 100
"""Lines from which Polars takes the types: if all have an empty list, it stops at the first one that has not."""

CHUNK_BYTES = 2**20


class TypedLines:
    """Rows that are written to a file; where the first hundred are without segments, the next one with any leads.

    Photographs from the air often begin so: a hundred of the sea, and then a ship.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._empty = 0
        self._first: tuple[int, int] | None = None
        """Where the first line with segments begins, and its length."""

    def add(self, line: bytes, *, shows_types: bool) -> None:
        """Write a row's line behind those before; one with segments shows the types of their columns."""
        if self._first is None:
            if shows_types:
                self._first = self._file.tell(), len(line)
            else:
                self._empty += 1
        self._file.write(line)

    def end(self) -> None:
        """All rows are written."""
        if self._first and self._empty >= HEAD:
            move_to_front(self._file, *self._first)


def move_to_front(file: BinaryIO, start: int, length: int) -> None:
    """Move some bytes before all others: of `seaship`, with 3 and 4, it makes `shipsea`."""
    file.seek(start)
    moved = file.read(length)
    for begin in reversed(range(0, start, CHUNK_BYTES)):
        file.seek(begin)
        chunk = file.read(min(CHUNK_BYTES, start - begin))
        file.seek(begin + length)
        file.write(chunk)
    file.seek(0)
    file.write(moved)
