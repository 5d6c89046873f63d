"""References as a job keeps them: absolute paths and addresses, whatever they are relative to."""

# Paths stay strings, as in maskmill.images.sources.
# ruff: noqa: PTH100, PTH118

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

from maskmill.addresses import file_path, nest, nested, scheme_of
from maskmill.images.entries import Entry

STDIN = "-"


def resolved(entries: Iterable[Entry], base: str) -> Iterator[Entry]:
    """References of a list as addresses and absolute paths; `base` is the list's folder, or its own address."""
    absolute = _absolute_address if scheme_of(base) else _absolute_path
    for entry in entries:
        if not isinstance(entry, str) or entry.startswith(("http://", "https://")):
            yield entry
        elif "://" not in entry:
            yield entry if is_data(entry) else absolute(entry, base)
        elif inner := nested(entry):
            yield nest(inner[0], inner[1], inner[2] if scheme_of(inner[2]) else absolute(inner[2], base))
        else:
            yield describe(entry)


def _absolute_path(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def _absolute_address(path: str, address: str) -> str:
    """A path in a list at an address: `img/a.jpg` in `s3://bucket/lists/l.txt` is `s3://bucket/lists/img/a.jpg`."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{urljoin(f'http://{rest}', path).partition('://')[2]}"


def describe(source: str) -> str:
    """The form in which a source is recorded: an absolute path or glob, an address unchanged, or `-`."""
    return local_path(source) or source


def is_data(source: str) -> bool:
    """Whether it is a `data:` address (RFC 2397)."""
    return source[:5].lower() == "data:"


def local_path(source: str) -> str | None:
    """The absolute path of a local source or `file:///…` address (RFC 8089), None for any other or none."""
    scheme = scheme_of(source)
    if scheme == "file":
        return file_path(source)
    return None if scheme or source in (STDIN, "") or is_data(source) else os.path.abspath(source)
