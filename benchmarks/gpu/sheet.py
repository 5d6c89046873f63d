"""A piece's figures, in its file from the first one on: a piece that is cut off keeps what it has found."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.result import Comparison, Figure, Kept, Result
from benchmarks.scale import say

Found = Figure | Comparison | str


class Sheet:
    """The file of one piece.

    >>> sheet.add(Figure(name="stock pipeline", value=3.2, unit="images/s", settings="…"))
    """

    def __init__(self, folder: Path, piece: str, title: str, device: dict[str, str]) -> None:
        self._folder, self._piece, self._title = folder, piece, title
        self._machine = machine() | device
        self._started = time.perf_counter()
        self._found: list[Found] = []

    def add(self, *found: Found) -> None:
        """Keep figures, comparisons and notes at once."""
        for each in found:
            say(each if isinstance(each, str) else f"{each.name}: {each.value:.4g} {each.unit}")
        self.put([*self._found, *found])

    def put(self, found: list[Found]) -> None:
        """Let these be all that the file has."""
        self._found = found
        self._kept().save(self._folder)

    def _kept(self) -> Kept:
        return Kept(
            letter=self._piece,
            title=self._title,
            command=f"python -m benchmarks gpu {self._piece}",
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            seconds=round(time.perf_counter() - self._started, 1),
            machine=self._machine,
            result=Result(
                figures=[each for each in self._found if isinstance(each, Figure)],
                comparisons=[each for each in self._found if isinstance(each, Comparison)],
                notes=[each for each in self._found if isinstance(each, str)],
            ),
        )
