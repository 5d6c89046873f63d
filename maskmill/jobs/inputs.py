"""What a caller gave to `submit`: names of sources, images in memory, or an iterable of both that is read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeAlias

from maskmill.addresses import IN_STORE, Address, in_store
from maskmill.errors import SourceError
from maskmill.images import references, sources
from maskmill.images.entries import Entry, Numbered, Unlisted, writable
from maskmill.images.in_memory import IN_MEMORY, encoded
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.download import content_digest
from maskmill.storage.store import Store

PUT_THREADS = 4
"""Images that are put at once; twice as many wait in memory."""

LARGE_BYTES = 8 * 2**20
"""From this size on an image is put before the next one is read, so that few of them are in memory."""

MAX_DESCRIBED = 1000
"""Of an iterable, which may have no end, the job's record names so many sources."""

Read: TypeAlias = str | bytes | Unlisted
"""A name, an image's file, or what is wrong with an input."""

WANTED = "a path, an address, a PIL image, an array or the bytes of an image file"


@dataclass
class Inputs:
    """The inputs in order. `count` of them were read so far; `described` is what the job's record says of them.

    `checked`: a sequence of names alone, each of which must be there. Of any other iterable a wrong input costs itself
    alone. `numbered`: references know the number of their input.
    """

    given: Iterable[Any]
    checked: bool
    numbered: bool
    count: int = 0
    described: dict[Address, None] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, *, numbered: bool = False) -> Inputs:
        """One input, or an iterable of them; raises `SourceError` for what is neither."""
        if isinstance(given, str | PathLike | IN_MEMORY):
            given = [given]
        if not isinstance(given, Iterable) or isinstance(given, Mapping):
            raise _not_wanted(given)
        if isinstance(given, Sequence) and not given:
            raise SourceError("no sources were given: name a file, a folder, an address or a list file")
        checked = isinstance(given, Sequence) and all(isinstance(each, str | PathLike) for each in given)
        return cls(given, checked, numbered or not checked)

    def check(self) -> None:
        """Raise `SourceError` for a name that cannot be one, where all of them are known."""
        for name in self._names:
            sources.check(name)

    @property
    def may_repeat(self) -> bool:
        """Whether an image may come twice."""
        return not (self.checked and sources.never_repeats(self._names))

    @property
    def _names(self) -> list[str]:
        return [os.fsdecode(each) for each in self.given] if self.checked else []

    def entries(self, store: Store, job: str, expand: Callable[[str], Iterator[Entry]]) -> Iterator[Entry | Numbered]:
        """The entries of each input. Images in memory are put into the store on the way, below the job.

        The iterable is read in the caller's thread, and each image is encoded before the next one is asked for, so
        that a program may write its next frame into the same array.
        """
        found = self._expanded(store, job, expand)
        return (Numbered(*each) for each in found) if self.numbered else (entry for entry, _ in found)

    def _expanded(
        self, store: Store, job: str, expand: Callable[[str], Iterator[Entry]]
    ) -> Iterator[tuple[Entry, int]]:
        def put(read: tuple[Read, int]) -> tuple[str | Unlisted, int]:
            return (_put(store, job, read[0]) if isinstance(read[0], bytes) else read[0]), read[1]

        for each, number in map_ahead(put, self._read(put), PUT_THREADS):
            if isinstance(each, Unlisted) or each.startswith(f"{IN_STORE}://"):
                yield each, number
            else:
                yield from ((entry, number) for entry in self._listed(each, expand))

    def _read(self, put: Callable[[tuple[Read, int]], tuple[str | Unlisted, int]]) -> Iterator[tuple[Read, int]]:
        """Names as they are, images as files, what is neither with its problem."""
        for number, each in enumerate(self.given):
            self.count = number + 1
            read = _named_or_encoded(each, number)
            self._describe(read)
            yield put((read, number)) if isinstance(read, bytes) and len(read) >= LARGE_BYTES else (read, number)

    def _describe(self, read: Read) -> None:
        if self.checked or len(self.described) < MAX_DESCRIBED:
            description = references.describe(read) if isinstance(read, str) else f"{IN_STORE}://"
            self.described[Address(writable(description))] = None

    def _listed(self, name: str, expand: Callable[[str], Iterator[Entry]]) -> Iterator[Entry]:
        try:
            yield from expand(name)
        except SourceError as error:
            if self.checked:
                raise
            yield Unlisted(writable(references.describe(name)), writable(str(error)))


def _named_or_encoded(given: Any, number: int) -> Read:
    if isinstance(given, str | PathLike):
        return os.fsdecode(given)
    if not isinstance(given, IN_MEMORY):
        return _wrong(number, _not_wanted(given))
    try:
        return encoded(given)
    except SourceError as error:
        return _wrong(number, error)


def _wrong(number: int, error: SourceError) -> Unlisted:
    return Unlisted(f"{IN_STORE}://input/{number}", writable(str(error)))


def _not_wanted(given: object) -> SourceError:
    return SourceError(f"an input is {WANTED}, not {type(given).__name__}")


def _put(store: Store, job: str, image: bytes) -> str:
    """Put an image and return its reference; one that is there already is replaced by itself."""
    key = keys.image(job, content_digest(image))
    store.put(key, image)
    return in_store(content_digest(image), f"{store.url}/{key}")
