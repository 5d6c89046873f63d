"""Every way to the web goes through one door: whatever proxies the environment names, and whichever address answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from maskmill.access import Access
from maskmill.errors import FetchFailed, FetchTimeout, ImageRefused
from maskmill.images.connections import Proxies
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.images.manners import Manners
from maskmill.settings import Settings
from tests.serving import serving

BODY = b"what a host of the inside says"
INSIDE = "vault.corp.internal"
"""A name that leads to 127.0.0.1, as a company's own names do to its servers."""

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Host(BaseHTTPRequestHandler):
    """Answers for itself; as a proxy, asked for a whole address, for every name that there is."""

    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.passwords.append(self.headers.get("Proxy-Authorization", ""))
        if self.path.endswith("/slow"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
        _, found, target = self.path.partition("/to/")
        self.send_response(302 if found else 200)
        self.send_header("Content-Length", "0" if found else str(len(BODY)))
        if found:
            self.send_header("Location", target)
        self.end_headers()
        self.wfile.write(b"" if found else BODY)

    def log_message(self, *_: object) -> None:
        """No line a request."""


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Host)
        self.asked: list[str] = []
        self.passwords: list[str] = []
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up."""


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as running:
        yield running
        running.closing.set()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies but a test's own, and a name of the inside."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    resolve = socket.getaddrinfo

    def answer(host: Any, *rest: Any, **options: Any) -> Any:
        here = host in (INSIDE, INSIDE.encode()) and not options.get("flags")
        return resolve("127.0.0.1" if here else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def fetcher(*hosts: str, proxy: str | None = None, seconds: float = 20.0) -> Fetcher:
    limits = FetchLimits(timeout_seconds=seconds, attempts=1)
    return Fetcher(limits, access=Access(hosts), manners=Manners(proxies=Proxies(proxy)))


ENVIRONMENTS = [
    {"NO_PROXY": f"localhost,.corp.internal,{INSIDE}"},
    {"no_proxy": "*"},
    {"HTTP_PROXY": "http://127.0.0.1:{port}", "NO_PROXY": ".corp.internal"},
    {"http_proxy": "http://127.0.0.1:{port}"},
    {"ALL_PROXY": "http://127.0.0.1:{port}", "NO_PROXY": "fd00::/8,::1,10.0.0.0/8"},
    {"ALL_PROXY": "socks5://127.0.0.1:{port}", "NO_PROXY": INSIDE},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("host", [INSIDE, "127.0.0.1"])
def test_the_environment_opens_no_second_door(
    site: Site, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], host: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(port=site.server_port))
    with pytest.raises(ImageRefused, match="MASKMILL_ALLOW_PRIVATE_HOSTS"):
        fetcher().fetch(f"http://{host}:{site.server_port}/x")
    assert not site.asked
    assert fetcher("127.0.0.1").fetch(f"http://127.0.0.1:{site.server_port}/x") == BODY, "and no proxy is asked"
    assert site.asked == ["/x"]


@pytest.mark.parametrize("host", [INSIDE, "127.0.0.1", "sub.corp.internal", "[::1]"])
def test_what_no_proxy_names_goes_directly_and_is_checked(
    site: Site, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{site.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,::1,.corp.internal")
    expected = FetchFailed if host.startswith("sub") else ImageRefused
    with pytest.raises(expected):
        fetcher(proxy="environment").fetch(f"http://{host}:{site.server_port}/x")
    assert not site.asked


def test_the_environments_proxy_is_used_by_who_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{site.server_port}")
    assert fetcher(proxy="environment").fetch("http://images.example/a.jpg?b") == BODY
    assert site.asked == ["http://images.example/a.jpg?b"]
    with pytest.raises(FetchFailed, match="MASKMILL_FETCH_PROXY=environment"):
        fetcher().fetch("http://images.example/a.jpg")
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with pytest.raises(FetchFailed) as caught:
        fetcher().fetch("http://images.example/a.jpg")
    assert "PROXY" not in str(caught.value)


def test_a_proxy_looks_names_up_and_gets_its_password_and_nobody_sees_it(site: Site) -> None:
    proxy = f"http://me:pass-word@127.0.0.1:{site.server_port}"
    assert fetcher(proxy=proxy).fetch("http://known-to-the-proxy.example/a.jpg") == BODY
    assert site.passwords == ["Basic bWU6cGFzcy13b3Jk"]
    site.shutdown()
    site.server_close()
    with pytest.raises(FetchFailed) as caught:
        fetcher(proxy=proxy).fetch("http://known-to-the-proxy.example/a.jpg")
    assert "pass-word" not in str(caught.value)


WRITTEN = ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "017700000001", "127%2e0%2e0%2e1", "127.0.0.1.", "[::1]"]
WRITTEN += ["localhost", "LOCALHOST.", "a.localhost", "[::ffff:10.0.0.1]", "169.254.169.254", "10.0.0.1", "0"]


@pytest.mark.parametrize("host", WRITTEN)
def test_behind_a_proxy_private_addresses_are_refused_however_they_are_written(site: Site, host: str) -> None:
    proxied = fetcher(proxy=f"http://127.0.0.1:{site.server_port}")
    for uri in (f"http://{host}/x", f"http://images.example/to/http://{host}:{site.server_port}/x"):
        with pytest.raises(ImageRefused):
            proxied.fetch(uri)
    assert not [path for path in site.asked if "/to/" not in path]


def test_a_proxy_that_trickles_is_a_timeout(site: Site) -> None:
    started = time.monotonic()
    with pytest.raises(FetchTimeout):
        fetcher(proxy=f"http://127.0.0.1:{site.server_port}", seconds=1).fetch("http://images.example/slow")
    assert time.monotonic() - started < 30


def test_a_proxy_of_another_kind_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(FetchFailed, match="MASKMILL_FETCH_PROXY"):
        fetcher(proxy="environment").fetch("http://images.example/a.jpg")
    with pytest.raises(ValueError, match="write http://HOST:PORT, or environment"):
        Settings(fetch_proxy=SecretStr("socks5://proxy:1080"))


# Hosts with several addresses


def resolved_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(Access, "addresses", lambda *_: list(addresses))


def silent(stack: ExitStack, address: str, port: int) -> None:
    """A port that accepts nobody any more: its queue is full, so a connection to it waits."""
    listening = stack.enter_context(socket.socket())
    listening.bind((address, port))
    listening.listen(0)
    for _ in range(3):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex((address, port))


def test_the_next_address_is_tried_when_the_first_is_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    with ExitStack() as stack:
        silent(stack, "127.0.0.2", site.server_port)
        assert fetcher().fetch(f"http://images.example:{site.server_port}/x") == BODY
        resolved_to(monkeypatch, "127.0.0.2")
        with pytest.raises(FetchTimeout):  # or the address above is not silent, and the test is worth nothing
            fetcher(seconds=1).fetch(f"http://images.example:{site.server_port}/x")


def test_the_next_address_is_tried_when_the_first_refuses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved_to(monkeypatch, "127.0.0.3", "127.0.0.1")
    assert fetcher().fetch(f"http://images.example:{site.server_port}/x") == BODY
