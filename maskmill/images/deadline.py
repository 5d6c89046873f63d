"""HTTP connections whose every wait ends with the attempt that they serve, redirects included."""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

import httpcore
import httpx

from maskmill.access import Access


class _Deadline(threading.local):
    """When the attempt that this thread makes has to be over, on the monotonic clock."""

    at = math.inf

    def start(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def wait(self, timeout: float | None) -> float:
        """The seconds that may be waited now; raises `httpcore.ReadTimeout` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(left, timeout)


DEADLINE = _Deadline()


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
    """Opens all connections, also those after a redirect, to addresses that may be connected to alone."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """The first of the host's allowed addresses that answers; raises `ImageRefused` when there is none."""
        try:
            addresses = self.access.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error.strerror}") from error
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError):
                return self._connect(address, port, timeout, local_address, socket_options)
        return self._connect(addresses[-1], port, timeout, local_address, socket_options)

    def _connect(self, address: str, port: int, timeout: float | None, *options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(address, port, DEADLINE.wait(timeout), *options))


class DeadlineTransport(httpx.HTTPTransport):
    """httpx has no parameter for the backend of its pool yet (encode/httpx#3749), hence the replaced pool."""

    def __init__(self, context: ssl.SSLContext, access: Access) -> None:
        super().__init__(verify=context)
        # Without a number it would be ten connections, fewer than a worker's fetch threads.
        self._pool = httpcore.ConnectionPool(
            context, max_connections=None, network_backend=_Backend(access), keepalive_expiry=5.0
        )


@cache
def ssl_context() -> ssl.SSLContext:
    """One for all fetchers of a process: reading the certificates takes longer than many a fetch."""
    return httpx.create_ssl_context()
