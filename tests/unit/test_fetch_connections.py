"""Connections to an image's server: used again where that is safe, never left open, and of use after any answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from maskmill.access import Access
from maskmill.errors import FetchTimeout, ImageError
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from tests.conftest import wait_for
from tests.serving import serving

BODY = b"x" * 10_000
LIMITS = FetchLimits(max_bytes=20_000, timeout_seconds=60.0, attempts=1, backoff_seconds=0.01)
SHORT_BODY, LONG_BODY = b"no", b"no" * 500_000
"""One that comes with the answer's header, and one of which most is still on its way when it is refused."""


class Handler(BaseHTTPRequestHandler):
    """Says no in each way; the server remembers over which connection each path was asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open += 1

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        with self.server.lock:
            self.server.open -= 1

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.client_address[1]))
        with suppress(OSError):  # the client that hangs up is what is tested here
            name, _, rest = self.path.partition("?")[0].strip("/").partition("/")
            getattr(self, f"answer_{name}")(rest)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_ok(self, _: str) -> None:
        self.send(200, BODY)

    def answer_refused(self, status: str) -> None:
        self.send(int(status), SHORT_BODY)

    def answer_explained(self, status: str) -> None:
        self.send(int(status), LONG_BODY)

    def answer_large(self, _: str) -> None:
        self.send(200, LONG_BODY)

    def answer_chunked(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"2710\r\n%s\r\n" % BODY * 50 + b"0\r\n\r\n")

    def answer_redirect(self, _: str) -> None:
        self.send(302, LONG_BODY, Location="/ok")

    def answer_known(self, _: str) -> None:
        self.send(304, b"")

    def answer_silent(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx")
        self.server.closing.wait(60)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, int]] = []
        self.open = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def ports(self) -> list[int]:
        """The client's port of each request: equal ports are one connection."""
        return [port for _, port in self.asked]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server
        server.closing.set()


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(LIMITS, access=Access(("127.0.0.1",)))


REFUSALS = ["refused/404", "refused/403", "refused/500", "explained/404", "explained/503", "large", "chunked"]


def test_a_connection_serves_one_image_after_the_other(server: Server, fetcher: Fetcher) -> None:
    for _ in range(3):
        assert fetcher.fetch(server.url("ok")) == BODY
    assert len(set(server.ports)) == 1


@pytest.mark.parametrize("path", REFUSALS)
def test_the_next_image_of_the_host_is_read_whole_after_any_refusal(
    server: Server, fetcher: Fetcher, path: str
) -> None:
    """Whatever is left of a refused body is never taken for the next answer."""
    for _ in range(3):
        with pytest.raises(ImageError):
            fetcher.fetch(server.url(path))
        assert fetcher.fetch(server.url("ok")) == BODY


@pytest.mark.parametrize("path", REFUSALS)
def test_refusals_leave_no_connection_open(server: Server, fetcher: Fetcher, path: str) -> None:
    for _ in range(20):
        with pytest.raises(ImageError):
            fetcher.fetch(server.url(path))
    assert fetcher.fetch(server.url("ok")) == BODY
    wait_for(lambda: server.open <= 1, lambda: f"{server.open} connections are open", 30)


def test_redirects_leave_no_connection_open(server: Server, fetcher: Fetcher) -> None:
    for _ in range(20):
        assert fetcher.fetch(server.url("redirect")) == BODY
    wait_for(lambda: server.open <= 1, lambda: f"{server.open} connections are open", 30)


def test_a_server_that_falls_silent_leaves_no_connection_open(server: Server) -> None:
    fetcher = Fetcher(FetchLimits(timeout_seconds=0.2, attempts=1), access=Access(("127.0.0.1",)))
    with pytest.raises(FetchTimeout):
        fetcher.fetch(server.url("silent"))
    server.closing.set()
    wait_for(lambda: not server.open, lambda: f"{server.open} connections are open", 30)
    fetcher.limits = LIMITS
    assert fetcher.fetch(server.url("ok")) == BODY


def test_many_threads_each_have_a_connection_and_no_fetch_waits_for_another(server: Server, fetcher: Fetcher) -> None:
    """More at once than the ten that httpcore's pool has by itself, and the hundred that httpx's has."""
    number = 24
    together = threading.Barrier(number)
    bodies: list[bytes] = []

    def fetch() -> None:
        together.wait()
        for _ in range(3):
            with suppress(ImageError):
                fetcher.fetch(server.url("explained/404"))
        bodies.append(fetcher.fetch(server.url("ok")))

    threads = [threading.Thread(target=fetch) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [BODY] * number


def test_no_log_of_the_http_client_shows_a_signature(
    server: Server, fetcher: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fetcher.fetch(server.url("ok?X-Amz-Signature=sig-nature"))
    assert "sig-nature" not in caplog.text
