"""A file for the time of one score: the truth by image, which image is which, and a row for each image's result.

So memory does not grow with the number of images, and processes share what was read once.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from maskmill.errors import UsageError

TABLES = """
CREATE TABLE truth (key INTEGER PRIMARY KEY, id TEXT UNIQUE, path TEXT, last TEXT, width INTEGER, height INTEGER);
CREATE INDEX truth_last ON truth (last);
CREATE TABLE part (truth INTEGER, content TEXT);
CREATE INDEX part_truth ON part (truth);
CREATE TABLE image (
    number INTEGER PRIMARY KEY, uri TEXT, mask TEXT, truth INTEGER, common INTEGER, ambiguous TEXT
);
CREATE INDEX image_mask ON image (mask);
CREATE INDEX image_truth ON image (truth);
CREATE TABLE result (first REAL, second REAL, number INTEGER, content TEXT);
"""


PROBLEM = -1.0
"""What rows of images that could not be scored are sorted by: before all others."""


class TrueImage(NamedTuple):
    """An image of the truth: its path as written there, its size if that is said, and what is known of its segments."""

    key: int
    path: str
    width: int | None
    height: int | None
    parts: tuple[str, ...]


class Row(NamedTuple):
    """One image's result as JSON, and what results are sorted by: two figures, and the image's number."""

    first: float
    second: float
    number: int
    content: str


@dataclass(frozen=True)
class Scratch:
    """The file; it is opened anew in each process."""

    path: str

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """This process's connection. Readers do not wait for the writer, and nothing need survive a crash."""
        connection = sqlite3.connect(self.path, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path}

    def execute(self, query: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement."""
        return self.connection.execute(query, values)

    def insert(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """A statement for each of many rows."""
        self.connection.executemany(statement, rows)
        self.connection.commit()

    def true_image(self, key: int) -> TrueImage:
        """The image of this key."""
        path, width, height = self.execute("SELECT path, width, height FROM truth WHERE key = ?", (key,)).fetchone()
        parts = self.execute("SELECT content FROM part WHERE truth = ? ORDER BY rowid", (key,))
        return TrueImage(key, path, width, height, tuple(content for (content,) in parts))

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Keep the results of some images."""
        self.insert("INSERT INTO result VALUES (?, ?, ?, ?)", rows)

    def rows(self, *, scored: bool = False) -> Iterator[str]:
        """The results of all images, or of those that could be scored, the worst first."""
        query = "SELECT content FROM result WHERE first >= ? ORDER BY first, second, number"
        for (content,) in self.execute(query, (0.0 if scored else PROBLEM,)):
            yield content


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A file of one's own in the system's folder for such, gone at the end; raises `UsageError` if it has no room."""
    with _own_folder() as folder:
        file = Scratch(str(Path(folder) / "scratch.db"))
        try:
            file.connection.executescript(TABLES)
            yield file
        except sqlite3.OperationalError as error:
            raise _no_place(str(error)) from error
        finally:
            file.connection.close()


def _own_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="maskmill-score-")
    except OSError as error:
        raise _no_place(error.strerror or str(error)) from error


def _no_place(why: str) -> UsageError:
    return UsageError(
        f"a score keeps a file of its own meanwhile, and cannot: {why}; TMPDIR names another folder for it"
    )
