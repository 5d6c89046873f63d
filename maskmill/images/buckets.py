"""Objects below an S3 prefix or of a glob, from one listing: it is read as a stream, in key order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from maskmill.addresses import split_url
from maskmill.images.entries import Entry, LeftOut, Reason
from maskmill.images.kinds import is_image_name, spells_extension

Lister = Callable[[str], Iterator[str]]
"""Gives every object whose key starts as in `s3://bucket/start`, in key order, as a full `s3://` address."""

MAGIC = re.compile(r"[*?[]")
JOB_FOLDER = re.compile(r"(?:.*/)?(?=jobs/\d{8}-\d{6}-[0-9a-f]{8}/)")
"""Before a job's records in a key: an output prefix of ours."""


def below(url: str, list_objects: Lister, *, all_files: bool) -> Iterator[Entry]:
    """All objects below `s3://bucket/prefix/`: images by name (or all), and what is left out."""
    sort = _Sorter(len(url), all_files)
    return (sort(found) for found in list_objects(url) if not found.endswith("/"))  # a 'folder' that a console made


def matches(url: str, list_objects: Lister, *, all_files: bool) -> Iterator[Entry]:
    """What a glob such as `s3://bucket/2026/*/*.jpg` matches; `*` matches within one part of a key, `**` any parts.

    As in a shell `*` matches nothing hidden. An object that is called like the pattern itself matches, too. As of local
    folders, all below a prefix that matches is taken, if the pattern has no `**`.
    """
    bucket, key = split_url(url)
    fixed = MAGIC.split(key, maxsplit=1)[0]
    start = f"s3://{bucket}/{fixed.rpartition('/')[0]}"
    start += "/" if not start.endswith("/") else ""
    exactly, any_name, sort = _pattern(key), spells_extension(key), _Sorter(len(start), all_files)
    within = re.compile(rf"{exactly.pattern}/.+", re.DOTALL) if "**" not in key else None
    for found in list_objects(f"s3://{bucket}/{fixed}"):
        name = split_url(found)[1]
        if name.endswith("/"):
            continue
        if found == url or exactly.fullmatch(name):
            yield sort(found, any_name=any_name)
        elif within and within.match(name):
            yield sort(found)


def _pattern(key: str) -> re.Pattern[str]:
    parts = [r"(?:(?!\.)[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in key.split("/")[:-1]]
    last = key.rpartition("/")[2]
    return re.compile("".join(parts) + (r".*" if last == "**" else _part(last)), re.DOTALL)


def _part(part: str) -> str:
    r"""A glob of one part of a key as a regular expression: `[!a]*.jp?g` is `(?!\.)[^a][^/]*\.jp[^/]g`."""
    text = "" if part.startswith(".") else r"(?!\.)"
    for piece in re.findall(r"\[!?\]?[^\]]*\]|.", part, re.DOTALL):
        if len(piece) > 1:
            inside = piece[1:-1].replace("\\", r"\\").replace("^", r"\^")
            text += f"[^/{inside[1:]}]" if inside.startswith("!") else f"(?!/)[{inside}]"
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return text


class _Sorter:
    """Tells a listing's references from what is left out: hidden names, other names, results of our own jobs.

    In key order a job's records (`jobs/`) come before the masks of their output prefix (`masks/`).
    """

    def __init__(self, start: int, all_files: bool) -> None:
        self.start, self.all_files = start, all_files
        self.own: tuple[str, ...] = ()

    def __call__(self, url: str, *, any_name: bool = False) -> Entry:
        if self.own and url.startswith(self.own):
            return LeftOut(Reason.OWN_RESULT, url)
        if "jobs/" in url and (found := JOB_FOLDER.match(url)):
            masks = f"{found[0]}masks/"
            self.own += () if masks in self.own else (masks,)
            return LeftOut(Reason.OWN_RESULT, url)
        if self.all_files:
            return url
        if "/." in url and "/." in f"/{url[self.start :]}":
            return LeftOut(Reason.HIDDEN, url)
        return url if any_name or is_image_name(url) else LeftOut(Reason.NAME, url)
