"""Images of `http(s)://` addresses: attempts, redirects, statuses, bodies within limits."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from urllib.request import getproxies_environment

import httpcore
import httpx
import stamina

from maskmill.access import Access
from maskmill.addresses import Address, on_one_line
from maskmill.errors import (
    FetchFailed,
    FetchTimeout,
    ImageForbidden,
    ImageNotFound,
    ImageTooLarge,
    ImageUnsupported,
    ObjectTooLarge,
    UsageError,
)
from maskmill.images.connections import CheckedTransport
from maskmill.images.deadline import DEADLINE
from maskmill.images.limits import FetchLimits, check_size
from maskmill.images.manners import USUAL_PAUSE_SECONDS, Manners, asked_pause
from maskmill.images.pace import PATIENCE_SECONDS, HostGivenUp
from maskmill.storage.download import Download, by_content
from maskmill.storage.encodings import decoded

NOT_FOUND, FORBIDDEN, PASSING = {404, 410}, {401, 403}, {408, 425}
NOT_MODIFIED = 304
SERVER_ERROR = 500

REFUSED_TRIES = 20
"""How often one image is asked for while its host says that it is asked for too much."""

TRIES_OF_THE_HOST = 3
"""So many of them slow the host down for all; then it is this image that is refused, as by a guard against robots."""


class _Transient(FetchFailed):
    """A failure that the next attempt may not meet."""


class Web:
    """Reads images over HTTP; keeps connections from image to image.

    What the environment says of proxies and passwords (`HTTP_PROXY`, `NO_PROXY`, `.netrc`) is not looked at.
    """

    def __init__(self, limits: FetchLimits, access: Access, manners: Manners) -> None:
        self.limits = limits
        self.access = access
        self.manners = manners

    def download(self, address: Address, known: str | None) -> Download:
        """The image's file and its version, see `Fetcher.download`."""
        return self._retrying(_Transient, self._attempt, address, known)

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
        transport = CheckedTransport(self.access, self.manners.proxies)
        return httpx.Client(transport=transport, timeout=self.limits.timeout_seconds, trust_env=False)

    def _attempt(self, address: Address, known: str | None) -> Download:
        shown = on_one_line(address)
        try:
            return self._get(address, shown, known)
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            seconds = f"{self.limits.timeout_seconds:g} s"
            raise FetchTimeout(f"{shown}: no whole answer in {seconds}{self._unused_proxy}") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            cure = " (in a user or password, / is %2F, ? is %3F and @ is %40)" if shown.endswith("://…") else ""
            raise ImageUnsupported(f"{shown}: not a valid address{cure}") from error
        except httpx.ConnectError as error:
            raise _Transient(f"{shown}: {on_one_line(str(error))}{self._unused_proxy}") from error
        except httpx.TransportError as error:
            raise _Transient(f"{shown}: {_what_broke(error)}") from error

    @property
    def _unused_proxy(self) -> str:
        """A cure for machines that reach the web through a proxy alone."""
        if self.manners.proxies.setting or not getproxies_environment().keys() - {"no"}:
            return ""
        return " (HTTP_PROXY is looked at with MASKMILL_FETCH_PROXY=environment alone)"

    def _get(self, address: Address, shown: str, known: str | None) -> Download:
        """One attempt with its redirects, each of which is seen here before it is followed."""
        DEADLINE.start(self.limits.timeout_seconds)
        self._client.cookies.clear()  # as if each image had a client of its own
        request = self._request(httpx.URL(address.reveal()), known)
        for _ in range(self.limits.max_redirects + 1):
            if request.url.scheme not in ("http", "https"):
                raise ImageUnsupported(f"{shown}: redirects to {request.url.scheme}")
            with self._answer(request, shown) as response:
                if response.next_request is None:
                    return self._download(response, shown, known)
                request = self._request(response.next_request.url, known, response.next_request.headers)
        raise FetchFailed(f"{shown}: more than {self.limits.max_redirects} redirects")

    def _request(self, url: httpx.URL, known: str | None, redirected: httpx.Headers | None = None) -> httpx.Request:
        """A request as if it were the first one: of what httpx would send after a redirect only the password stays."""
        headers = httpx.Headers(self.manners.headers_for(url) | _unless(known))
        if redirected and "Authorization" in redirected:
            headers.setdefault("Authorization", redirected["Authorization"])
        return self._client.build_request("GET", url, headers=headers)

    @contextmanager
    def _answer(self, request: httpx.Request, shown: str) -> Iterator[httpx.Response]:
        """The answer to one request, which is made again while the host says that it is too much for it."""
        host, pace, seconds = request.url.netloc.decode(), self.manners.pace, DEADLINE.wait()
        for tries in range(REFUSED_TRIES):
            try:
                asked_at = pace.wait(host)
            except HostGivenUp:
                raise FetchFailed(
                    f"{shown}: its host wants a longer pause than we make: `maskmill retry` later"
                ) from None
            DEADLINE.start(seconds)  # to wait for one's turn takes nothing from it
            with closing(self._client.send(request, stream=True)) as response:
                pause = asked_pause(response)
                if pause is None:
                    if response.status_code < SERVER_ERROR:
                        pace.answered(host, asked_at)
                    yield response
                    return
            if tries < TRIES_OF_THE_HOST or pause > PATIENCE_SECONDS:
                pace.refused(host, asked_at, pause)
            else:
                time.sleep(max(pause, USUAL_PAUSE_SECONDS))
        raise FetchFailed(f"{shown}: HTTP {response.status_code}, {REFUSED_TRIES} times: `maskmill retry` later")

    def _download(self, response: httpx.Response, shown: str, known: str | None) -> Download:
        if response.status_code == NOT_MODIFIED and known:
            return Download(known)
        _check_status(response, shown)
        data, version = self._read_body(response, shown), _http_version(response)
        if version is None:
            return by_content(data, known)
        return Download(version, None if version == known else data)

    def _read_body(self, response: httpx.Response, shown: str) -> bytes:
        check_size(int(response.headers.get("content-length", 0)), self.limits.max_bytes, f"{shown}:")
        body = io.BytesIO()
        for chunk in response.iter_raw():
            body.write(chunk)
            check_size(body.tell(), self.limits.max_bytes, f"{shown}:")
        try:
            return decoded(body.getvalue(), response.headers.get("content-encoding", ""), self.limits.max_bytes)
        except ObjectTooLarge as error:
            raise ImageTooLarge(f"{shown}: {error}") from error
        except UsageError as error:
            raise ImageUnsupported(f"{shown}: {error}") from error


def _what_broke(error: httpx.TransportError) -> str:
    """In httpx's words, but for those that quote the server, whose answer may hold a password."""
    text = str(error) or type(error).__name__
    quotes = isinstance(error, httpx.RemoteProtocolError) and not text.startswith(
        ("peer closed", "Server disconnected")
    )
    return "its answer is not valid HTTP" if quotes else on_one_line(text)


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
    if status in PASSING or status >= SERVER_ERROR:
        raise _Transient(reason)
    raise FetchFailed(reason)
