"""Which image of a job is which of the truth: by the end of their paths, since both are rarely in one folder.

`/data/val/a/cat.jpg` is `a/cat.jpg` rather than `b/cat.jpg`. Where two fit equally well, or one image of the truth fits
two of the job, none is taken: a score against another image's truth would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import unquote

from maskmill.addresses import nested
from maskmill.scoring.scratch import Scratch


def path_of(uri: str) -> str:
    """The part of an image's address that is a path: `https://host/a/b%20c.jpg` is `a/b c.jpg`."""
    if inner := nested(uri):
        return inner[1]
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    path = rest.partition("/")[2]
    return unquote(path) if scheme.lower() in ("http", "https") else path


class Listed(NamedTuple):
    """An image of the job by its number; `mask_key` is None where it failed. `outcome` is a mask's JSON, if wanted."""

    number: int
    uri: str
    mask_key: str | None
    outcome: str | None = None


class Name(NamedTuple):
    """What an image of the truth may be called: `last` is looked up, and of several the one most like `path` is it."""

    last: str
    path: str


def by_path(image: Listed) -> list[Name]:
    """The end of its path: `cat.jpg` in `/photos/a/cat.jpg`."""
    path = path_of(image.uri)
    return [Name(path.rsplit("/", 1)[-1], path)]


def by_stem(image: Listed) -> list[Name]:
    """The same, also without its extension: `a/cat.png` is the truth of `a/cat.jpg`, and so is `a/cat_jpg.png`.

    The latter is what an export calls it beside a `cat.png`.
    """
    whole = by_path(image)[0]
    folder = whole.path.removesuffix(whole.last)
    stem, dot, extension = whole.last.rpartition(".")
    shorter = [stem, f"{stem}_{extension}"] if stem and dot else []
    return [whole, *(Name(each, folder + each) for each in shorter)]


def by_address(image: Listed) -> list[Name]:
    """Its address; where addresses differ in what is not shown of them, the mask's key tells them apart."""
    return [Name(image.uri, image.mask_key or "")]


def pair(scratch: Scratch, images: Iterable[Listed], names: Callable[[Listed], list[Name]]) -> None:
    """Write down each image of the job by its number, and which of the truth it is.

    An image that was submitted twice has one mask, and counts once. Of several that one of the truth fits, the one that
    it fits best is it.
    """
    scratch.insert(
        "INSERT INTO image (number, uri, mask, truth, common, ambiguous) VALUES (?, ?, ?, ?, ?, ?)",
        ((each.number, each.uri, each.mask_key or each.number, *_found(scratch, names(each))) for each in images),
    )
    scratch.execute("DELETE FROM image WHERE number NOT IN (SELECT min(number) FROM image GROUP BY mask)")
    scratch.execute(
        "UPDATE image SET truth = NULL WHERE common < (SELECT max(common) FROM image AS o WHERE o.truth = image.truth)"
    )
    scratch.execute(
        "UPDATE image SET ambiguous = (SELECT last FROM truth WHERE key = image.truth) WHERE truth IN "
        "(SELECT truth FROM image WHERE truth IS NOT NULL GROUP BY truth HAVING count(*) > 1)"
    )
    scratch.connection.commit()


def _found(scratch: Scratch, names: Iterable[Name]) -> tuple[int | None, int | None, str | None]:
    """The key of the image of the truth and how well it fits, or the name that several have that fit equally well."""
    for last, path in names:
        candidates = scratch.execute("SELECT key, path FROM truth WHERE last = ?", (last,))
        ranked = sorted(((_common(path, candidate), key) for key, candidate in candidates), reverse=True)
        if ranked:
            several = len(ranked) > 1 and ranked[0][0] == ranked[1][0]
            return (None, None, last) if several else (ranked[0][1], ranked[0][0], None)
    return None, None, None


def _common(one: str, other: str) -> int:
    """How many parts of two paths are equal, from the end."""
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    count = 0
    for mine, theirs in pairs:
        if mine != theirs:
            break
        count += 1
    return count


@dataclass(frozen=True)
class Paired:
    """How many images are in both, in one alone, and not to be told apart."""

    both: int
    only_in_job: int
    only_in_truth: int
    ambiguous: int


def paired(scratch: Scratch) -> Paired:
    """The account of all pairs."""

    def count(where: str) -> int:
        number: int = scratch.execute(f"SELECT count(*) FROM {where}").fetchone()[0]  # noqa: S608 - our own texts
        return number

    return Paired(
        both=count("image WHERE truth IS NOT NULL AND ambiguous IS NULL"),
        only_in_job=count("image WHERE truth IS NULL AND ambiguous IS NULL"),
        only_in_truth=count(f"({ABSENT})"),
        ambiguous=count("image WHERE ambiguous IS NOT NULL"),
    )


ABSENT = (
    "SELECT key FROM truth WHERE key NOT IN (SELECT truth FROM image WHERE truth IS NOT NULL) "
    "AND last NOT IN (SELECT ambiguous FROM image WHERE ambiguous IS NOT NULL)"
)
"""Images of the truth that no image of the job is; those that one of several may be are left out."""


def absent(scratch: Scratch) -> list[int]:
    """Their keys, in order."""
    return [key for (key,) in scratch.execute(f"{ABSENT} ORDER BY key")]


def ambiguous(scratch: Scratch, most: int) -> tuple[str, ...]:
    """The first images of the job that several of the truth may be, or that are one with others."""
    return _uris(scratch, "ambiguous IS NOT NULL", most)


def only_in_job(scratch: Scratch, most: int) -> tuple[str, ...]:
    """The first images of the job that the truth does not have."""
    return _uris(scratch, "truth IS NULL AND ambiguous IS NULL", most)


def only_in_truth(scratch: Scratch, most: int, column: Literal["path", "last"] = "path") -> tuple[str, ...]:
    """The first images of the truth that the job does not have."""
    query = f"SELECT {column} FROM truth WHERE key IN ({ABSENT}) ORDER BY key LIMIT ?"  # noqa: S608 - our own text
    return tuple(path for (path,) in scratch.execute(query, (most,)))


def _uris(scratch: Scratch, which: str, most: int) -> tuple[str, ...]:
    query = f"SELECT uri FROM image WHERE {which} ORDER BY number LIMIT ?"  # noqa: S608 - our own text
    return tuple(uri for (uri,) in scratch.execute(query, (most,)))


def keys_of(scratch: Scratch, first: int, count: int) -> dict[int, int]:
    """The image of the truth of each of these images of the job that has one, for sure."""
    query = (
        "SELECT number, truth FROM image WHERE number >= ? AND number < ? AND truth IS NOT NULL AND ambiguous IS NULL"
    )
    return dict(scratch.execute(query, (first, first + count)).fetchall())
