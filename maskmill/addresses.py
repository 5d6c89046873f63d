"""Addresses taken apart: `http(s)://`, `s3://bucket/key` and the servers' own. Nothing is looked up."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from maskmill.errors import UsageError


def split_url(url: str) -> tuple[str, str]:
    """`s3://bucket/some/key` as (`bucket`, `some/key`); raises `UsageError` for anything else."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
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
