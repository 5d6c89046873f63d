"""Addresses taken apart: `http(s)://`, `s3://bucket/key` and the servers' own. Nothing is looked up."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from maskmill.errors import UsageError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def scheme_of(address: str) -> str:
    """The scheme in lower case; empty for a path.

    >>> scheme_of("S3://bucket/a.jpg")
    's3'
    """
    match = SCHEME.match(address)
    return match[1].lower() if match else ""


def file_path(address: str) -> str | None:
    """The path of a `file:///…` address (RFC 8089); None if it is another machine's."""
    host, _, path = address.partition("://")[2].partition("/")
    return os.path.normpath("/" + unquote(path)) if host in ("", "localhost") else None


def bucket_of(url: str) -> str:
    """The bucket of an `s3://` address; empty if it names none."""
    return url.partition("://")[2].partition("/")[0]


def split_url(url: str) -> tuple[str, str]:
    """`s3://bucket/some/key` as (`bucket`, `some/key`); raises `UsageError` for anything else."""
    bucket, key = bucket_of(url), url.partition("://")[2].partition("/")[2]
    if not url.startswith("s3://") or not bucket:
        raise UsageError(f"'{url}' is not an S3 address: write s3://bucket/prefix")
    return bucket, key


def without_query(uri: str) -> str:
    """An address that may be shown: no user, password, query or fragment. Takes whatever a list file holds."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def is_this_machine(url: str) -> bool:
    """Whether a server's address is a loopback one, as written."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
