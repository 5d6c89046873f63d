"""What a file is, by its name, and where that says nothing, by how it begins."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH113, PTH122, PTH123

from __future__ import annotations

import glob
import os
from enum import Enum, auto

IMAGE_EXTENSIONS = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".mpo"}
)
"""What counts as an image in a folder, a glob or an S3 prefix: the extensions of `maskmill.images.decode.FORMATS`.

A worker may lack the decoder for some: then their outcome says so.
"""

TEXT_LISTS = frozenset({".txt", ".lst", ".list"})
TABLES = frozenset({".csv", ".tsv"})
JSON_LINES = frozenset({".jsonl", ".ndjson"})
JSON, PARQUET, GZIP = ".json", ".parquet", ".gz"
LIST_EXTENSIONS = TEXT_LISTS | TABLES | JSON_LINES | {JSON, PARQUET}

ZIP, TAR = ".zip", ".tar"
PACKED = (".tgz", ".tbz", ".tbz2", ".txz", ".7z", ".rar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Archives out of which no single file can be read."""

BEGINNINGS = (
    (0, (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (0, (b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n")),
    (0, (b"PF\n", b"Pf\n", *(b"P%d%c" % (kind, space) for kind in range(1, 7) for space in b" \t\r\n"))),
    (4, (b"ftypavif", b"ftypavis", b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    (8, (b"WEBP",)),
)
"""Where in a file, and what, says that it is an image of a format that some worker opens."""


class Kind(Enum):
    """How a source is read."""

    IMAGE = auto()
    LIST = auto()
    ZIP = auto()
    TAR = auto()
    PACKED = auto()
    UNKNOWN = auto()


def extension(name: str) -> str:
    """The last extension, in lower case: `.jpg`."""
    return os.path.splitext(name)[1].lower()


def spells_extension(pattern: str) -> bool:
    """Whether a glob says which extension it means: `*.csv` does, `*` and `*.j*` do not."""
    return bool(extension(pattern)) and not glob.has_magic(extension(pattern))


def list_extension(name: str) -> str:
    """The extension of a list, without the `.gz` of a compressed one: `a.CSV.gz` is `.csv`."""
    return extension(name[: -len(GZIP)] if extension(name) == GZIP else name)


def is_image_name(name: str) -> bool:
    """Whether the name's extension is one of an image, in any case."""
    return extension(name) in IMAGE_EXTENSIONS


def kind_of_name(name: str) -> Kind:
    """The kind that a name tells."""
    if is_image_name(name):
        return Kind.IMAGE
    if name.lower().endswith(PACKED):
        return Kind.PACKED
    if list_extension(name) in LIST_EXTENSIONS:
        return Kind.LIST
    return {ZIP: Kind.ZIP, TAR: Kind.TAR}.get(extension(name), Kind.UNKNOWN)


def kind_of_file(path: str) -> Kind:
    """The kind that a local file's name tells, or else its first bytes. One that cannot be read is for a worker."""
    kind = kind_of_name(path)
    if kind is not Kind.UNKNOWN or not os.path.isfile(path):
        return kind
    try:
        with open(path, "rb") as file:
            return Kind.IMAGE if begins_like_an_image(file.read(32)) else kind
    except OSError:
        return Kind.IMAGE


def begins_like_an_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an image of a known format."""
    return any(head.startswith(marks, at) for at, marks in BEGINNINGS)
