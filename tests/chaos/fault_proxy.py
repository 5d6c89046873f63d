"""A proxy in front of an object store that fails, dawdles and hangs up, as dice say."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.serving import serving

FAULTS = ("internal error", "slow down", "slow", "cut before", "torn upload", "cut after", "torn answer")
ERRORS = {"internal error": (500, "InternalError"), "slow down": (503, "SlowDown")}
NO_BODY = (204, 304)
SLOW_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on as they are (their signature covers the Host header), but for a share of them.

    A torn upload reaches the store by half; `cut after` is done by the store, but nobody hears of it.
    """

    daemon_threads = True

    def __init__(self, target: str, share: float, seed: int) -> None:
        self.target = urlsplit(target).netloc
        self.share = share
        self.injected: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def roll(self, command: str, path: str) -> str | None:
        """The fault for the next request, if any."""
        with self._lock:
            if self._dice.random() >= self.share:
                return None
            fault = self._dice.choice(FAULTS)
            self.injected[fault] += 1
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that end in the middle are what this is for."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.roll(self.command, self.path)
        if fault in ERRORS:
            self.refuse(*ERRORS[fault])
        elif fault == "cut before":
            self.hang_up()
        elif fault == "torn upload":
            self.send_half(body)
            self.hang_up()
        else:
            time.sleep(SLOW_SECONDS if fault == "slow" else 0)
            self.answer(fault, *self.pass_on(body))

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the base class

    def answer(self, fault: str | None, status: int, headers: dict[str, str], body: bytes) -> None:
        if fault == "cut after":
            self.hang_up()
            return
        self.send_response_only(status)
        if self.command != "HEAD" and status not in NO_BODY:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        torn = fault == "torn answer" and len(body) > 1
        self.wfile.write(body[: len(body) // 2] if torn else body)
        if torn:
            self.hang_up()

    def pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=TIMEOUT_SECONDS)
        try:
            self.send_head(connection)
            connection.send(body)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def send_half(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.server.target, timeout=TIMEOUT_SECONDS)
        self.send_head(connection)
        connection.send(body[: len(body) // 2])
        connection.close()

    def send_head(self, connection: http.client.HTTPConnection) -> None:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders()

    def refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def fault_proxy(target: str, share: float, seed: int = 1) -> Iterator[FaultProxy]:
    """A running proxy for the length of the block."""
    with serving(FaultProxy(target, share, seed)) as proxy:
        yield proxy
