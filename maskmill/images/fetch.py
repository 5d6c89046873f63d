"""From an image reference to the bytes of its file: a local path, an `http(s)://` or an `s3://` address.

A reader who has a version of the image already gets no bytes while it is still that (RFC 9110, conditional requests;
for files their time of modification and size).
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Self

from maskmill.access import Access
from maskmill.addresses import IN_STORE, Address, bucket_of, nested, on_one_line
from maskmill.errors import (
    FetchFailed,
    ImageError,
    ImageForbidden,
    ImageNotFound,
    ImageRefused,
    ImageTooLarge,
    ImageUnsupported,
    ObjectForbidden,
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    UsageError,
)
from maskmill.images.inside import read_data, read_nested
from maskmill.images.limits import FetchLimits, check_size
from maskmill.images.manners import Manners
from maskmill.images.pace import Pace
from maskmill.images.web import Web
from maskmill.settings import Settings
from maskmill.storage import keys
from maskmill.storage.download import Download, by_content, content_version, file_version
from maskmill.storage.reader import ObjectReader
from maskmill.storage.store import ATTEMPTS

ReadObject = Callable[[str, int, str | None], Download]
"""Reads one `s3://bucket/key` of at most so many bytes, unless its version is the one given.

Raises `ObjectNotFound`, `ObjectForbidden` or `StoreUnavailable`, and for more bytes an error of code `too_large`.
"""


class Fetcher:
    """Reads images by their references. Make one in each process; it keeps connections from image to image.

    Its reasons (`str(error)`) name no credentials: addresses are shown without user, password and query.
    `read_object` reads sources, `read_result` the store of the results, where images from memory lie.
    """

    def __init__(
        self,
        limits: FetchLimits | None = None,
        read_object: ReadObject | None = None,
        access: Access | None = None,
        manners: Manners | None = None,
        read_result: ReadObject | None = None,
    ) -> None:
        self.limits = limits or FetchLimits()
        self.read_object = read_object
        self.read_result = read_result
        self.access = access or Access()
        self.web = Web(self.limits, self.access, manners or Manners())

    @classmethod
    def of(
        cls, settings: Settings, *, attempts: int = ATTEMPTS, access: Access | None = None, pace: Pace | None = None
    ) -> Self:
        """As the settings say; another `access` than theirs is for who reads by rights of his own."""
        return cls(
            FetchLimits(max_bytes=settings.max_image_bytes, timeout_seconds=settings.fetch_timeout_seconds),
            ObjectReader(settings.source_store, attempts),
            access or settings.access,
            Manners.of(settings, pace),
            ObjectReader(settings.s3, attempts),
        )

    def fetch(self, uri: str) -> bytes:
        """The bytes of the image's file; raises as `download` does."""
        return self.download(uri).data or b""

    def download(self, uri: str, known: str | None = None) -> Download:
        """The image's file and its version; no bytes if that is `known`. An `Address` is fetched by its whole text.

        Raises `ImageNotFound`, `ImageForbidden`, `ImageRefused`, `ImageTooLarge`, `ImageUnsupported`, `FetchTimeout`
        or `FetchFailed`; for `s3://` also what is not the image's fault, `StoreUnavailable`.
        """
        address = Address(uri)
        whole, scheme = address.reveal(), "" if address.startswith("/") else address.partition(":")[0].lower()
        if not scheme:
            return _read_file(self.access.path(whole), address, self.limits.max_bytes, known)
        if inner := nested(whole):
            return self._read_nested(inner, address, known)
        if scheme == "data":
            return read_data(whole, self.limits.max_bytes, known)
        if scheme in ("http", "https"):
            return self.web.download(address, known)
        if scheme == IN_STORE and self.read_result is not None:
            return _read_stored(self.read_result, whole, self.limits.max_bytes, known)
        if scheme == "s3" and self.read_object is not None:
            self.access.check_bucket(bucket_of(whole))
            return _read_object(self.read_object, whole, self.limits.max_bytes, known)
        raise ImageUnsupported(f"{on_one_line(address)}: neither an absolute path nor an http, https or s3 address")

    def _read_nested(self, inner: tuple[str, str, str], shown: str, known: str | None) -> Download:
        try:
            return read_nested(inner, self.access, self.limits.max_bytes, known)
        except (OSError, ValueError) as error:
            raise _file_error(error, on_one_line(shown)) from error


def _read_file(path: Path, uri: str, max_bytes: int, known: str | None) -> Download:
    shown = on_one_line(uri)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageNotFound(f"{shown}: is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ImageUnsupported(f"{shown}: is a pipe or device")
        check_size(status.st_size, max_bytes, f"{shown}:")
        version = file_version(status)
        if version == known:
            return Download(version)
        with path.open("rb") as file:
            data = file.read(status.st_size + 1)  # memory is taken for all that is asked for
    except (OSError, ValueError) as error:
        raise _file_error(error, shown) from error
    if len(data) != status.st_size:
        raise FetchFailed(f"{shown}: changed its size while it was read")
    return Download(version, data)


def _file_error(error: OSError | ValueError, shown: str) -> ImageError:
    if isinstance(error, PermissionError):
        return ImageForbidden(f"{shown}: may not be read by this worker")
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return ImageNotFound(f"{shown}: no such file")
    return FetchFailed(f"{shown}: {error.strerror}")


def _read_stored(read: ReadObject, uri: str, max_bytes: int, known: str | None) -> Download:
    """An image from memory by its content, which is also its version; nothing else can be read in this way."""
    digest, _, url = uri.removeprefix(f"{IN_STORE}://").partition("?")
    if known == content_version(digest):
        return Download(known)
    if not keys.is_image(url, digest):
        raise ImageUnsupported(f"{on_one_line(Address(uri))}: does not say where the image lies: submit it again")
    found = by_content(_read_object(read, url, max_bytes, None).data or b"", None)
    if found.version != content_version(digest):
        raise ImageRefused(f"{on_one_line(url)}: has another content than was submitted")
    return found


def _read_object(read: ReadObject, uri: str, max_bytes: int, known: str | None) -> Download:
    try:
        return read(uri, max_bytes, known)
    except ObjectNotFound as error:
        raise ImageNotFound(str(error)) from error
    except ObjectForbidden as error:
        raise ImageForbidden(str(error)) from error
    except StoreRefused as error:
        raise FetchFailed(str(error)) from error
    except ObjectTooLarge as error:
        raise ImageTooLarge(f"{on_one_line(Address(uri))}: {error}") from error
    except UsageError as error:
        raise ImageUnsupported(str(error)) from error
