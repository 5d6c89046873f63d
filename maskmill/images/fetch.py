"""From an image reference to the bytes of its file: a local path, an `http(s)://` or an `s3://` address.

A reader who has a version of the image already gets no bytes while it is still that (RFC 9110, conditional requests;
for files their time of modification and size).
"""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.request import getproxies

import httpcore
import httpx
import stamina

from maskmill.access import Access
from maskmill.addresses import bucket_of, without_query
from maskmill.errors import (
    FetchFailed,
    FetchTimeout,
    ImageError,
    ImageForbidden,
    ImageNotFound,
    ImageTooLarge,
    ImageUnsupported,
    ObjectForbidden,
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    UsageError,
)
from maskmill.images.deadline import DEADLINE, DeadlineTransport, ssl_context
from maskmill.storage.download import Download, by_content

MAX_SHOWN = 200
NOT_FOUND = {404, 410}
FORBIDDEN = {401, 403}
TOO_MANY_REQUESTS = 429
MAX_RETRY_AFTER_SECONDS = 10.0
"""A server that asks for a longer pause is asked again at the usual pace."""

NOT_MODIFIED = 304

ReadObject = Callable[[str, int, str | None], Download]
"""Reads one `s3://bucket/key` of at most so many bytes, unless its version is the one given.

Raises `ObjectNotFound`, `ObjectForbidden` or `StoreUnavailable`, and for more bytes an error of code `too_large`.
"""


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may take; `timeout_seconds` is for one attempt, from connecting to the last byte."""

    max_bytes: int = 256 * 2**20
    timeout_seconds: float = 30.0
    max_redirects: int = 5
    attempts: int = 3
    backoff_seconds: float = 0.5


class _Transient(FetchFailed):
    """A failure that the next attempt may not meet; `retry_after_seconds` is what the server asked for."""

    retry_after_seconds: float | None = None


class Fetcher:
    """Reads images by their references. Make one in each process; it keeps connections from image to image.

    Its reasons (`str(error)`) name no credentials: addresses are shown without user, password and query.
    """

    def __init__(
        self,
        limits: FetchLimits | None = None,
        read_object: ReadObject | None = None,
        access: Access | None = None,
    ) -> None:
        self.limits = limits or FetchLimits()
        self.read_object = read_object
        self.access = access or Access()

    def fetch(self, uri: str) -> bytes:
        """The bytes of the image's file; raises as `download` does."""
        return self.download(uri).data or b""

    def download(self, uri: str, known: str | None = None) -> Download:
        """The image's file and its version; no bytes if that is `known`.

        Raises `ImageNotFound`, `ImageForbidden`, `ImageRefused`, `ImageTooLarge`, `ImageUnsupported`, `FetchTimeout`
        or `FetchFailed`; for `s3://` also what is not the image's fault, `StoreUnavailable`.
        """
        scheme = "" if uri.startswith("/") else uri.partition(":")[0].lower()
        if not scheme:
            return _read_file(self.access.path(uri), uri, self.limits.max_bytes, known)
        if scheme in ("http", "https"):
            return self._retrying(_pause, self._attempt, uri, known)
        if scheme == "s3" and self.read_object is not None:
            self.access.check_bucket(bucket_of(uri))
            return _read_object(self.read_object, uri, self.limits.max_bytes, known)
        raise ImageUnsupported(f"{_shown(uri)}: neither an absolute path nor an http, https or s3 address")

    @cached_property
    def _retrying(self) -> stamina.RetryingCaller:
        backoff = self.limits.backoff_seconds
        return stamina.RetryingCaller(
            attempts=self.limits.attempts,
            timeout=None,
            wait_initial=backoff,
            wait_max=8 * backoff,
            wait_jitter=backoff,
        )

    @cached_property
    def _client(self) -> httpx.Client:
        # Its INFO lines show whole addresses, with the signatures in their queries.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        return httpx.Client(
            headers={
                "User-Agent": f"maskmill/{_version()}",
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
            },
            timeout=self.limits.timeout_seconds,
            verify=ssl_context(),
            mounts=None if "all" in getproxies() else {"all://": DeadlineTransport(ssl_context(), self.access)},
        )

    def _attempt(self, uri: str, known: str | None) -> Download:
        DEADLINE.start(self.limits.timeout_seconds)
        try:
            return self._get(uri, known)
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            raise FetchTimeout(f"{_shown(uri)}: no whole answer in {self.limits.timeout_seconds:g} s") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            raise ImageUnsupported(f"{_shown(uri)}: not a valid address") from error
        except httpx.TransportError as error:
            raise _Transient(f"{_shown(uri)}: {_first_line(error)}") from error
        except httpx.HTTPError as error:
            raise FetchFailed(f"{_shown(uri)}: {_first_line(error)}") from error

    def _get(self, uri: str, known: str | None) -> Download:
        """One attempt with its redirects, each of which is seen here before it is followed."""
        self._client.cookies.clear()  # as if each image had a client of its own
        request = self._client.build_request("GET", uri, headers=_unless(known))
        for _ in range(self.limits.max_redirects + 1):
            if request.url.scheme not in ("http", "https"):
                raise ImageUnsupported(f"{_shown(uri)}: redirects to {request.url.scheme}")
            self.access.check_name(request.url.host)
            with closing(self._client.send(request, stream=True)) as response:
                if response.next_request is None:
                    return self._answer(response, _shown(uri), known)
                request = response.next_request
        raise FetchFailed(f"{_shown(uri)}: more than {self.limits.max_redirects} redirects")

    def _answer(self, response: httpx.Response, shown: str, known: str | None) -> Download:
        if response.status_code == NOT_MODIFIED and known:
            return Download(known)
        _check_status(response, shown)
        data, version = self._read_body(response, shown), _http_version(response)
        if version is None:
            return by_content(data, known)
        return Download(version, None if version == known else data)

    def _read_body(self, response: httpx.Response, shown: str) -> bytes:
        _check_size(int(response.headers.get("content-length", 0)), self.limits.max_bytes, shown)
        body = io.BytesIO()
        for chunk in response.iter_bytes():
            body.write(chunk)
            _check_size(body.tell(), self.limits.max_bytes, shown)
            DEADLINE.wait(None)  # behind a proxy nothing else ends a slow trickle
        return body.getvalue()


def _unless(known: str | None) -> dict[str, str]:
    kind, _, value = (known or "").partition(":")
    header = {"etag": "If-None-Match", "modified": "If-Modified-Since"}.get(kind)
    return {header: value} if header else {}


def _http_version(response: httpx.Response) -> str | None:
    for kind, header in (("etag", "etag"), ("modified", "last-modified")):
        if value := response.headers.get(header):
            return f"{kind}:{value}"
    return None


def _check_status(response: httpx.Response, shown: str) -> None:
    status, reason = response.status_code, f"{shown}: HTTP {response.status_code}"
    if response.is_success:
        return
    if status in NOT_FOUND:
        raise ImageNotFound(reason)
    if status in FORBIDDEN:
        raise ImageForbidden(reason)
    if status != TOO_MANY_REQUESTS and status < 500:
        raise FetchFailed(reason)
    error, pause = _Transient(reason), response.headers.get("retry-after", "")
    if pause.isdigit() and len(pause) < 3 and int(pause) <= MAX_RETRY_AFTER_SECONDS:
        error.retry_after_seconds = float(pause)
    raise error


def _pause(error: Exception) -> bool | float:
    """For stamina: whether to try again, or the seconds to wait before."""
    return isinstance(error, _Transient) and (error.retry_after_seconds or True)


def _check_size(size: int, max_bytes: int, shown: str) -> None:
    if size > max_bytes:
        raise ImageTooLarge(f"{shown}: more than {max_bytes:,} bytes, the worker's limit")


def _read_file(path: Path, uri: str, max_bytes: int, known: str | None) -> Download:
    shown = _shown(uri)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageNotFound(f"{shown}: is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ImageUnsupported(f"{shown}: is a pipe or device")
        _check_size(status.st_size, max_bytes, shown)
        version = f"file:{status.st_mtime_ns:x}-{status.st_size:x}"
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
        raise ImageTooLarge(f"{_shown(uri)}: {error}") from error
    except UsageError as error:
        raise ImageUnsupported(str(error)) from error


def _shown(uri: str) -> str:
    """The reference on one short line and without credentials."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in without_query(uri)[:MAX_SHOWN])
    return shown if len(shown) < MAX_SHOWN else shown[:-1] + "…"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:MAX_SHOWN]


def _version() -> str:
    try:
        return version("maskmill")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
