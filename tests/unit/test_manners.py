"""How image hosts are asked: at their pace, in all processes of a worker; with the headers that are theirs alone."""

from __future__ import annotations

import gzip
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import httpx
import pytest
import zstandard
from structlog.testing import capture_logs

from maskmill.errors import FetchFailed, ImageTooLarge, ImageUnsupported
from maskmill.images import pace as pace_module
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.images.manners import Manners, asked_pause
from maskmill.images.pace import HostGivenUp, Pace
from maskmill.settings import Settings
from tests.serving import serving
from tests.unit.limited_host import limited_host

LIMITS = FetchLimits(max_bytes=20_000, timeout_seconds=30.0, attempts=2, backoff_seconds=0.01)


# The pace of a host


def test_of_many_images_on_a_host_that_allows_few_a_second_none_fails() -> None:
    images, per_second, threads = 60, 10, 16
    with limited_host(per_second) as host:
        fetcher = Fetcher(LIMITS)
        started = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            bodies = list(pool.map(fetcher.fetch, map(host.url, range(images))))
        seconds = time.monotonic() - started
        assert bodies == [b"image"] * images
        assert host.statuses[200] == images
        assert host.refused < images, f"asked again and again: {host.statuses}"
        assert seconds > images / per_second - 1


def test_a_pace_from_the_settings_is_kept_from_the_beginning() -> None:
    with limited_host(1000) as host:
        fetcher = Fetcher(LIMITS, manners=Manners.of(Settings(host_requests_per_second=20)))
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetcher.fetch, map(host.url, range(20))))
        assert time.monotonic() - started > 19 / 20
        assert host.refused == 0


def test_a_host_is_asked_more_often_again_when_it_gives() -> None:
    pace = Pace()
    asked = pace.wait("host")
    pace.refused("host", asked, pause_seconds=0)
    pace.refused("host", asked, pause_seconds=0)  # under way with the first: counts once
    begun = pace.wait("host")
    gap = pace.wait("host") - begun
    assert gap > pace_module.FIRST_GAP_SECONDS * 0.99
    for _ in range(200):
        pace.answered("host", time.monotonic())
    begun = pace.wait("host")
    assert pace.wait("host") - begun < gap


def test_other_hosts_do_not_wait() -> None:
    pace = Pace()
    pace.refused("slow", pace.wait("slow"), pause_seconds=100)
    started = time.monotonic()
    for n in range(100):
        pace.wait(f"host-{n}")
    assert time.monotonic() - started < 30


def in_another_process(act: object) -> int:
    """The exit code of a forked process that does this: as loader processes are, it is no copy of what it shares."""
    pid = os.fork()
    if not pid:
        try:
            act()  # type: ignore[operator]
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_all_processes_of_a_worker_share_the_pace() -> None:
    pace = Pace()
    in_another_process(lambda: pace.refused("host", time.monotonic(), pause_seconds=1000))
    with pytest.raises(HostGivenUp):
        pace.wait("host")


def test_processes_and_threads_write_the_table_one_at_a_time() -> None:
    pace, times = Pace(), 2000

    def count() -> None:
        for _ in range(times):
            with pace._host("host") as found:
                found.gap += 1

    def count_in_threads() -> None:
        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    other = threading.Thread(target=in_another_process, args=(count_in_threads,))
    other.start()
    count_in_threads()
    other.join()
    with pace._host("host") as found:
        assert found.gap == 4 * times


def test_a_process_that_is_killed_at_the_table_holds_up_nobody() -> None:
    pace = Pace()

    def die() -> None:
        with pace._locked():
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_another_process(die) == signal.SIGKILL
    assert pace.wait("host") > 0


def test_a_host_that_refuses_for_too_long_is_given_up_and_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "PATIENCE_SECONDS", 0.2)
    pace = Pace()
    pace.refused("host", pace.wait("host"), pause_seconds=0.1)
    time.sleep(0.3)
    asked = pace.wait("host")
    pace.refused("host", asked, pause_seconds=0.1)
    with pytest.raises(HostGivenUp):
        pace.wait("host")
    time.sleep(0.2)
    pace.answered("host", pace.wait("host"))
    pace.wait("host")


def test_a_host_that_always_refuses_one_image_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill.images.web.REFUSED_TRIES", 3)
    with limited_host(0) as host, pytest.raises(FetchFailed, match=r"HTTP (429|503), 3 times: `maskmill retry` later"):
        Fetcher(LIMITS).fetch(host.url("x"))


def test_an_image_that_is_always_refused_slows_the_others_down_a_little_only(
    echo: EchoHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmill.images.web.REFUSED_TRIES", 5)
    fetcher, host = Fetcher(LIMITS), f"127.0.0.1:{echo.server_port}"
    with pytest.raises(FetchFailed, match="HTTP 429, 5 times"):
        fetcher.fetch(f"http://{host}/robots")
    assert len(echo.headers) == 5
    with fetcher.web.manners.pace._host(host) as found:
        assert found.gap < 0.1 * 1.5**2 + 0.001
    assert fetcher.fetch(f"http://{host}/b.jpg") == b"image"


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_pause_is_seconds_or_a_date() -> None:
    now = time.time()
    assert asked_pause(answer(429, Retry_After="7")) == 7
    assert asked_pause(answer(503, Retry_After=" 7 ")) == 7
    assert asked_pause(answer(429, Retry_After=formatdate(now + 60, usegmt=True))) == pytest.approx(60, abs=30)
    wrong_clock = {"Date": formatdate(now - 7200, usegmt=True), "Retry_After": formatdate(now - 7190, usegmt=True)}
    assert asked_pause(answer(429, **wrong_clock)) == 10, "the host's clock counts, not ours"
    assert asked_pause(answer(429, Retry_After=formatdate(now - 60, usegmt=True))) == 0
    for unsaid in ({}, {"Retry_After": "soon"}, {"Retry_After": "-1"}):
        assert asked_pause(answer(429, **unsaid)) == 1
    assert asked_pause(answer(503)) is None, "an error, not a pause"
    assert asked_pause(answer(200, Retry_After="7")) is None


# Headers and bodies


class Echo(BaseHTTPRequestHandler):
    """Remembers headers; `/to/…` leads there, `/as/ENCODING` gives the body that the server has for it."""

    server: EchoHost

    def do_GET(self) -> None:
        self.server.counts.append(len(self.headers.get_all("Authorization", [])))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        _, found, target = self.path.partition("/to/")
        encoding = self.path.partition("/as/")[2]
        body = self.server.bodies.get(encoding, b"image")
        fails = 500 if self.path.startswith("/fails") else 429 if self.path == "/robots" else 200
        self.send_response(302 if found else fails)
        if found:
            self.send_header("Location", target)
        if encoding:
            self.send_header("Content-Encoding", encoding.partition("+")[0])
        self.send_header("Content-Length", "0" if found else str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if found else body)

    def log_message(self, *_: object) -> None:
        """No line a request."""


class EchoHost(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.headers: list[dict[str, str]] = []
        self.counts: list[int] = []
        self.bodies: dict[str, bytes] = {}


@pytest.fixture
def echo() -> Iterator[EchoHost]:
    with serving(EchoHost()) as running:
        yield running


def with_headers(**hosts: dict[str, str]) -> Fetcher:
    return Fetcher(LIMITS, manners=Manners.of(Settings(host_headers=hosts)))


def test_headers_go_to_the_named_host_alone(echo: EchoHost) -> None:
    given = {
        "Authorization": "Bearer to-ken",
        "user-agent": "me/1.0 (me@example.org)",
        "Referer": "https://me.example/",
    }
    fetcher = with_headers(**{"http://localhost": given})
    fetcher.fetch(f"http://localhost:{echo.server_port}/to/http://127.0.0.1:{echo.server_port}/b.jpg")
    first, second = echo.headers
    assert {name.lower(): first[name.lower()] for name in given} == {n.lower(): value for n, value in given.items()}
    assert "authorization" not in second
    assert "referer" not in second
    assert second["user-agent"].startswith("maskmill/")


@pytest.mark.parametrize(
    ("named", "url", "sent"),
    [
        ("images.example", "https://images.example/a", True),
        ("images.example", "https://IMAGES.example:8443/a", True),
        ("images.example", "http://images.example/a", False),
        ("http://images.example", "http://images.example/a", True),
        ("images.example", "https://images.example.evil/a", False),
        ("images.example", "https://other.example/a", False),
        ("*.example", "https://images.example/a", True),
        ("*.example", "https://example/a", False),
    ],
)
def test_which_hosts_a_name_stands_for(named: str, url: str, sent: bool) -> None:
    manners = Manners(headers={named: {"Authorization": "Bearer to-ken"}})
    assert ("Authorization" in manners.headers_for(httpx.URL(url))) == sent


def test_headers_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMILL_HOST_HEADERS", '{"images.example": {"Authorization": "Bearer to-ken"}}')
    assert "to-ken" not in repr(Settings())
    assert Manners.of(Settings()).headers["images.example"] == {"Authorization": "Bearer to-ken"}
    for wrong in ({"A B": "x"}, {"A": "x\r\nHost: y"}):
        with pytest.raises(ValueError, match="host_headers"):
            Settings(host_headers={"images.example": wrong})


def test_after_a_redirect_within_the_host_a_header_is_sent_once(echo: EchoHost) -> None:
    here = f"http://localhost:{echo.server_port}"
    with_headers(**{"http://localhost": {"authorization": "Bearer to-ken"}}).fetch(f"{here}/to/{here}/b.jpg")
    assert [headers["authorization"] for headers in echo.headers] == ["Bearer to-ken"] * 2
    assert echo.counts == [1, 1]


def test_a_password_of_an_address_stays_with_its_host(echo: EchoHost) -> None:
    fetcher, port = Fetcher(LIMITS), echo.server_port
    fetcher.fetch(f"http://me:pass-word@127.0.0.1:{port}/to/http://127.0.0.1:{port}/to/http://localhost:{port}/b.jpg")
    assert [bool(headers.get("authorization")) for headers in echo.headers] == [True, True, False]


def test_no_line_of_the_log_shows_a_signature_when_a_fetch_is_tried_again(echo: EchoHost) -> None:
    uri = f"http://me:pass-word@127.0.0.1:{echo.server_port}/fails?X-Amz-Signature=sig-nature"
    with capture_logs() as lines, pytest.raises(FetchFailed, match="HTTP 500"):
        Fetcher(LIMITS).fetch(uri)
    assert lines, "stamina logs each retry"
    assert "sig-nature" not in str(lines)
    assert "pass-word" not in str(lines)


PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate+raw": lambda data: zlib.compress(data, wbits=-15),
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "aws-chunked": bytes,
}


@pytest.mark.parametrize("encoding", PACKED)
def test_bodies_that_come_compressed_unasked_are_read(echo: EchoHost, encoding: str) -> None:
    body = os.urandom(9000) * 2
    echo.bodies[encoding] = PACKED[encoding](body)
    assert Fetcher(LIMITS).fetch(f"http://127.0.0.1:{echo.server_port}/as/{encoding}") == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_small_body_that_holds_much_is_too_large(echo: EchoHost, encoding: str) -> None:
    echo.bodies[encoding] = PACKED[encoding](bytes(10**7))
    with pytest.raises(ImageTooLarge, match="20,000"):
        Fetcher(LIMITS).fetch(f"http://127.0.0.1:{echo.server_port}/as/{encoding}")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_body_that_is_not_what_it_says_is_said_to_be_that(echo: EchoHost, encoding: str) -> None:
    echo.bodies[encoding] = b"\xff\xd8\xff\xe0 a JPEG as it is"
    with pytest.raises(ImageUnsupported, match=f"should be compressed with {encoding}"):
        Fetcher(LIMITS).fetch(f"http://127.0.0.1:{echo.server_port}/as/{encoding}")
