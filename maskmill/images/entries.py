"""What a source gives: references, and the entries that are none, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TypeAlias

from maskmill.errors import SourceError


class Reason(StrEnum):
    """Why an entry of a source is not submitted. The values stand in records and do not change."""

    NAME = "not_an_image_name"
    HIDDEN = "hidden"
    DUPLICATE = "duplicate"
    OWN_RESULT = "own_result"
    EMPTY = "empty"
    PACKED = "packed"
    UNKNOWN_KIND = "unknown_kind"

    @property
    def words(self) -> str:
        """The reason for people."""
        return _WORDS[self]


_WORDS = {
    Reason.NAME: "not an image by its name",
    Reason.HIDDEN: "hidden",
    Reason.DUPLICATE: "duplicate",
    Reason.OWN_RESULT: "a result of Maskmill",
    Reason.EMPTY: "empty",
    Reason.PACKED: "a compressed archive, which must be unpacked first",
    Reason.UNKNOWN_KIND: "neither a list nor an image",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that is counted and not submitted: a file's path, an object's address, a row of a list."""

    reason: Reason
    name: str


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An entry that should be an image and gives no reference; it is submitted, and its outcome says `problem`.

    `Unlisted("/data/list.jsonl#row=301", "the row has no column 'url'")`
    """

    name: str
    problem: str


Entry: TypeAlias = str | LeftOut | Unlisted
"""A reference is its address; most entries are, and there may be millions."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An entry of the `input`-th of those that a Python program gave, from 0."""

    entry: Entry
    input: int


def up_to_a_break(entries: Iterator[Entry], name: str, errors: tuple[type[Exception], ...]) -> Iterator[Entry]:
    """The entries of a file; where it breaks off, those before stand, and one more says why.

    Raises `SourceError` where it is none of its kind from the beginning, which these `errors` tell.
    """
    try:
        first = list(islice(entries, 1))
    except errors as error:
        raise SourceError(f"{name} cannot be read: {_reason(error)}") from error
    yield from first
    try:
        yield from entries
    except errors as error:
        yield Unlisted(f"{name}#end", f"the file breaks off here: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return writable(str(error).split("\n")[0])


def writable(name: str) -> str:
    r"""A name that any record can hold: what is not UTF-8 is written as an escape.

    >>> writable("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, as JSON may hold
        return name.encode("utf-8", "backslashreplace").decode()
