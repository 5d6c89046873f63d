"""Addresses taken apart and shown: `http(s)://`, `s3://bucket/key` and the servers' own. Nothing is looked up."""

from __future__ import annotations

import os
import re
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from maskmill.errors import UsageError

MAX_SHOWN = 200
"""Characters of a foreign text in a message."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

_DATA = re.compile(r"data:[^,]*,", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[^]/?#@]*\]|[^:/?#@[]*)(:\d{0,5})?(?=[/?#]|$)")
_SECOND_AT = re.compile(r"[^/?#]*[:@][^/?#]*[/?#].*@[^/?#]+/", re.DOTALL)
"""A port or a user, and further on an `@` with what may be the real host: `user:1/2@host/a` or `user:a@b/c@host/d`."""


class Address(str):
    """Where an image is. As a text it has no user, password, query and fragment; only `reveal` gives the whole.

    >>> address = Address("https://me:secret@host/a.jpg?X-Amz-Signature=secret")
    >>> address
    'https://host/a.jpg'
    >>> address.reveal()        # to fetch it, and for a job's shards
    'https://me:secret@host/a.jpg?X-Amz-Signature=secret'

    So a log, a message or a record's JSON shows what may be shown, whoever writes it.
    """

    __slots__ = ("_whole",)
    _whole: str

    def __new__(cls, whole: str) -> Self:
        """The address of this whole text; one that is an address already stays as it is."""
        if isinstance(whole, cls):
            return whole
        self = super().__new__(cls, without_query(whole))
        self._whole = whole
        return self

    def reveal(self) -> str:
        """The whole address, with its secrets."""
        return self._whole

    def __getnewargs__(self) -> tuple[str]:  # for pickle, between a worker's processes
        return (self._whole,)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        made = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), made]),
            serialization=core_schema.to_string_ser_schema(),
        )


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


def split_object(url: str) -> tuple[str, str, str | None]:
    """An object's bucket, key and version: `s3://bucket/a.jpg?versionId=7` as (`bucket`, `a.jpg`, `7`)."""
    bucket, rest = split_url(url)
    key, _, version = rest.partition("?versionId=")
    return bucket, key, version or None


NESTED = ("zip", "tar", "parquet")
"""Schemes of images that lie in another file, written as fsspec writes them."""


def nest(scheme: str, inside: str, container: str) -> str:
    """The reference of what lies in a file: `nest("zip", "a/b.jpg", "/x.zip")` is `zip://a/b.jpg::/x.zip`."""
    return f"{scheme}://{inside}::{container}"


def nested(uri: str) -> tuple[str, str, str] | None:
    """The parts of such a reference; None for any other.

    >>> nested("zip://a/b.jpg::/data/photos.zip")
    ('zip', 'a/b.jpg', '/data/photos.zip')
    """
    if "::" not in uri:
        return None
    scheme, _, rest = uri.partition("://")
    inside, _, container = rest.rpartition("::")
    return (scheme, inside, container) if scheme in NESTED else None


IN_STORE = "memory"
"""Scheme of images that a Python program had in memory, and that lie in the store of the results now."""


def in_store(digest: str, url: str) -> str:
    """The reference of an image by its content, and where that lies now: `memory://DIGEST?s3://bucket/…`.

    The place is no part of the image's identity: the same image in another job is the same one.
    """
    return f"{IN_STORE}://{digest}?{url}"


SIGNATURES = tuple(
    (frozenset(needed.split()), re.compile(signing))
    for needed, signing in (
        ("x-amz-signature", r"x-amz-.*"),
        ("x-goog-signature", r"x-goog-.*"),
        ("signature expires", r"signature|expires|key-pair-id|\w*accesskeyid|googleaccessid|(x-amz-)?security-token"),
        ("signature policy", r"signature|policy|key-pair-id"),
        ("q-signature", r"q-.*|x-cos-security-token"),
        ("sig sv", r"sv|ss|srt|sr|st|se|sp|sip|spr|sig|si|sk(oid|tid|t|e|s|v)|saoid|suoid|scid|sdd|ses"),
    )
)
"""Which parameters of a query sign it, where those of the first column are there: AWS, Google, CloudFront, Azure…"""


def identity(uri: str) -> str:
    """The reference without what proves a right to it: an address that is signed anew is that of the same image.

    >>> identity("https://host/a.jpg?versionId=7&X-Amz-Signature=abc&X-Amz-Date=20261127T000000Z")
    'https://host/a.jpg?versionId=7'

    A password goes, too; the user stays.
    """
    if uri.startswith(f"{IN_STORE}://"):
        return uri.partition("?")[0]
    if ("?" not in uri and "@" not in uri) or not uri.lower().startswith(("http://", "https://")):
        return uri
    scheme, _, rest = uri.partition("://")
    before, mark, fragment = rest.partition("#")
    path, _, query = before.partition("?")
    host, slash, path = path.partition("/")
    user, at, host = host.rpartition("@")
    parameters = [each for each in query.split("&") if each]
    names = {each.partition("=")[0].lower() for each in parameters}
    for needed, signing in SIGNATURES:
        if needed <= names:
            parameters = [each for each in parameters if not signing.fullmatch(each.partition("=")[0].lower())]
    query = "?" + "&".join(parameters) if parameters else ""
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}{query}{mark}{fragment}"


def without_query(uri: str) -> str:
    """An address that may be shown: no user, password, query or fragment. Takes whatever a list file holds.

    Where a `/`, `?` or `#` stands unescaped in a password, nobody can tell what is the host: nothing is shown then.
    """
    if inner := nested(uri):
        return nest(inner[0], inner[1], without_query(inner[2]))
    scheme, separator, rest = uri.partition("://")
    if not separator:
        data = _DATA.match(uri)
        return f"{data[0]}…" if data else uri
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    malformed = "@" in rest and "@" not in authority and not _HOST_AND_PORT.match(rest)
    if malformed or _SECOND_AT.match(rest):
        return f"{scheme}://…"
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def on_one_line(text: str) -> str:
    """The text, which may be an address, for a message: short, and without what a terminal would obey."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_SHOWN])
    return line if len(line) < MAX_SHOWN else line[:-1] + "…"


def is_this_machine(url: str) -> bool:
    """Whether a server's address is a loopback one, as written."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
