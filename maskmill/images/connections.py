"""The one door to the web: every connection goes to an address that was checked, or to the proxy that was set."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks the first

import httpcore
import httpx

from maskmill.access import Access
from maskmill.errors import FetchFailed
from maskmill.images.deadline import DEADLINE

ENVIRONMENT = "environment"
"""Instead of a proxy's address: what `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say."""

SILENT_SECONDS = 3.0
"""How long one address of a host may be silent while there is another to try."""

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Proxies:
    """Which proxy an address is fetched through: none, one for all, or the environment's (`ENVIRONMENT`)."""

    setting: str | None = None

    def of(self, url: httpx.URL) -> str | None:
        """The proxy's own address; None for a direct connection."""
        if self.setting != ENVIRONMENT:
            return self.setting
        proxies = getproxies_environment()
        if proxy_bypass_environment(url.host, proxies):
            return None
        return proxies.get(url.scheme) or proxies.get("all")


class CheckedTransport(httpx.BaseTransport):
    """Sends each request directly, to a checked address, or through the proxy that is set for it."""

    def __init__(self, access: Access, proxies: Proxies) -> None:
        self.access = access
        self.proxies = proxies
        self._direct = _PoolTransport(httpcore.ConnectionPool(**_options(access.addresses)))
        self._proxied: dict[str, httpx.BaseTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; raises `ImageRefused` for a host that may not be connected to."""
        self.access.check_name(request.url.host)
        proxy = self.proxies.of(request.url)
        if proxy is None:
            return self._direct.handle_request(request)
        return self._through(proxy).handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxied.values()):
            transport.close()

    def _through(self, proxy: str) -> httpx.BaseTransport:
        if proxy not in self._proxied:
            self._proxied[proxy] = _PoolTransport(_proxy_pool(proxy))
        return self._proxied[proxy]


def _proxy_pool(proxy: str) -> httpcore.ConnectionPool:
    url = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchFailed("the proxy for images is no http or https proxy: see MASKMILL_FETCH_PROXY")
    auth = (url.username, url.password) if url.username or url.password else None
    address = httpcore.URL(scheme=url.scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    options = _options(Access().addresses)
    return httpcore.HTTPProxy(address, proxy_auth=auth, proxy_ssl_context=_tls(url), **options)


def _tls(proxy: httpx.URL) -> ssl.SSLContext | None:
    return ssl_context() if proxy.scheme == "https" else None


def _options(resolve: Resolve) -> dict[str, Any]:
    # Without a number it would be ten connections, fewer than a worker's fetch threads.
    return {
        "ssl_context": ssl_context(),
        "max_connections": None,
        "network_backend": _Backend(resolve),
        "keepalive_expiry": 5.0,
    }


class _PoolTransport(httpx.HTTPTransport):
    """httpx has no parameter for the backend of its pool yet (encode/httpx#3749), hence the replaced pool."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        super().__init__(verify=ssl_context(), trust_env=False)
        self._pool = pool


class _Stream(httpcore.NetworkStream):
    """A connection each of whose waits ends with the attempt.

    httpx bounds only the single wait: a server that sends a byte of its header now and then holds it for ever
    (encode/httpx#1450).
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self.stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, DEADLINE.wait(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, DEADLINE.wait(timeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self.stream.start_tls(ssl_context, server_hostname, DEADLINE.wait(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Opens all connections, also those after a redirect, to addresses that `resolve` gives alone."""

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """The first of the host's addresses that answers; the last one has all the time that is left."""
        try:
            *others, last = self.resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error.strerror}") from error
        for tried, address in enumerate(others):
            share = DEADLINE.wait(timeout) / (len(others) + 1 - tried)
            try:
                return self._connect(address, port, min(share, SILENT_SECONDS), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port, timeout, local_address, socket_options)

    def _connect(self, address: str, port: int, timeout: float | None, *options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(address, port, DEADLINE.wait(timeout), *options))


@cache
def ssl_context() -> ssl.SSLContext:
    """One for all fetchers of a process: reading the certificates takes longer than many a fetch.

    It trusts the usual authorities, or those in the file that `SSL_CERT_FILE` names.
    """
    return httpx.create_ssl_context()
