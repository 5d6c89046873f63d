"""What a shard adds to an export: items of growing files, in a folder that gets its name once it is whole."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from maskmill.errors import InvalidRecord
from maskmill.export.target import Target
from maskmill.schema import ImageProblem, Record
from maskmill.schema.record import Count

COUNTS = "counts.json"
BLOCK = 2**20
BETWEEN = b",\n"
"""Between the items of a list in JSON."""


class PartCounts(Record):
    """What a shard has added: images, segments, what was changed, and which images are missing."""

    images: Count = 0
    segments: Count = 0
    notes: dict[str, Count] = Field(default_factory=dict)
    problems: tuple[ImageProblem, ...] = ()


class Part:
    """One shard's share. `target` takes whole files, such as one mask an image.

    `part.item("annotations", b'{"id": 1}')`
    """

    def __init__(self, shard: int, target: Target) -> None:
        self.target = target
        self.notes: Counter[str] = Counter()
        self._shard = shard
        self._folder = target.work / f"{_name(shard)}.tmp"
        self._files: dict[str, BinaryIO] = {}
        self.images = self.segments = 0
        self.problems: list[ImageProblem] = []

    def __enter__(self) -> Part:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        for file in self._files.values():
            file.close()
        if failed is None:
            (self._folder / COUNTS).write_bytes(self.counts().to_json())
            final = self._folder.with_suffix("")
            shutil.rmtree(final, ignore_errors=True)
            self._folder.replace(final)

    def counts(self) -> PartCounts:
        """What it has so far."""
        return PartCounts(
            images=self.images, segments=self.segments, notes=dict(self.notes), problems=tuple(self.problems)
        )

    def open(self, name: str) -> BinaryIO:
        """The share's own file of this name; it stays open until the share is whole."""
        if name not in self._files:
            self._files[name] = self.path(name).open("wb")
        return self._files[name]

    def close(self, name: str) -> None:
        """Nothing more is added to the file of this name: a process has a bounded number of open ones."""
        if file := self._files.pop(name, None):
            file.close()

    def path(self, name: str) -> Path:
        """Where that file is, for who writes it otherwise."""
        return self._folder / name

    def item(self, name: str, data: bytes) -> None:
        """Add one item to a list in JSON that all shards make together: `parts.joined(name)`."""
        file = self.open(name)
        if file.tell():
            file.write(BETWEEN)
        file.write(data)

    def line(self, name: str, data: bytes) -> None:
        """Add one line to a file of lines that all shards make together: `parts.joined(name, b"")`."""
        file = self.open(name)
        file.write(data)
        file.write(b"\n")


class Parts:
    """The shares of all shards, in order."""

    def __init__(self, work: Path, shards: int) -> None:
        self._work, self._shards = work, range(shards)

    def counts(self, shard: int) -> PartCounts | None:
        """What a shard has added; None if its share is not whole, or lacks images and is to be made again."""
        try:
            found = PartCounts.from_json((self._work / _name(shard) / COUNTS).read_bytes())
        except (FileNotFoundError, InvalidRecord):
            return None
        return None if found.problems else found

    def files(self, name: str) -> list[Path]:
        """The shares' files of this name, of those that have one."""
        found = (self._work / _name(shard) / name for shard in self._shards)
        return [path for path in found if path.exists()]

    def lines(self, name: str) -> Iterator[bytes]:
        """All lines that `Part.line` added, one at a time."""
        for path in self.files(name):
            with path.open("rb") as file:
                yield from file

    def numbers(self, prefix: str) -> list[int]:
        """The numbers of the files `images-0`, `images-1`… that any share has: `numbers("images-")`."""
        found = (path.name.removeprefix(prefix) for path in self._work.glob(f"*/{prefix}*"))
        return sorted({int(number) for number in found})

    def joined(self, name: str, between: bytes = BETWEEN) -> Iterator[bytes]:
        """All items of a list, a block at a time."""
        first = True
        for path in self.files(name):
            with path.open("rb") as file:
                block = file.read(BLOCK)
                if block and not first:
                    yield between
                first = first and not block
                while block:
                    yield block
                    block = file.read(BLOCK)


def total(counts: Sequence[PartCounts]) -> PartCounts:
    """All shares' numbers together."""
    notes: Counter[str] = Counter()
    for each in counts:
        notes.update(each.notes)
    return PartCounts(
        images=sum(each.images for each in counts),
        segments=sum(each.segments for each in counts),
        notes=dict(sorted((+notes).items())),
        problems=tuple(problem for each in counts for problem in each.problems),
    )


def _name(shard: int) -> str:
    return f"{shard:08d}"
