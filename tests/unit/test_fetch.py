from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from maskmill.errors import (
    FetchFailed,
    FetchTimeout,
    ImageError,
    ImageForbidden,
    ImageNotFound,
    ImageTooLarge,
    ImageUnsupported,
    MaskmillError,
    ObjectForbidden,
    ObjectNotFound,
    ObjectTooLarge,
    StoreUnavailable,
    UsageError,
)
from maskmill.images.fetch import Fetcher, ReadObject
from maskmill.images.limits import FetchLimits
from maskmill.storage.download import Download
from tests.serving import serving

BODY = bytes(range(256)) * 40
LIMITS = FetchLimits(max_bytes=20_000, timeout_seconds=60.0, max_redirects=3, attempts=3, backoff_seconds=0.01)
BUSY_SECONDS = 30.0
"""What a machine with much else to do may take for what is done in no time."""


class Handler(BaseHTTPRequestHandler):
    """Answers each path in its own way; the server remembers the paths and headers that were asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.headers.append(dict(self.headers))
        name, _, rest = self.path.partition("?")[0].strip("/").partition("/")
        getattr(self, f"answer_{name}")(rest)

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        if "Transfer_Encoding" not in headers:
            headers.setdefault("Content_Length", str(len(body)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_ok(self, _: str) -> None:
        self.send(200, BODY)

    def answer_tagged(self, tag: str) -> None:
        if self.headers.get("If-None-Match") == f'"{tag}"':
            self.send(304)
        else:
            self.send(200, BODY, ETag=f'"{tag}"')

    def answer_dated(self, _: str) -> None:
        date = "Sun, 22 Nov 2026 10:00:00 GMT"
        if self.headers.get("If-Modified-Since") == date:
            self.send(304)
        else:
            self.send(200, BODY, Last_Modified=date)

    def answer_status(self, status: str) -> None:
        self.send(int(status), b"no")

    def answer_recovers(self, rest: str) -> None:
        """`recovers/STATUS/TIMES`: this status so many times, then the body."""
        status, times = rest.split("/")
        failing = self.server.asked.count(self.path) <= int(times)
        self.send(int(status), b"later", Retry_After="0") if failing else self.send(200, BODY)

    def answer_pause(self, seconds: str) -> None:
        self.send(429, Retry_After=seconds) if len(self.server.asked) == 1 else self.send(200, BODY)

    def answer_silent(self, _: str) -> None:
        self.server.closing.wait(2 * BUSY_SECONDS)

    def answer_drip(self, rest: str) -> None:
        """Never silent for long, never done: in the body or, for `drip/header`, before it."""
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\n" if rest == "header" else b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
        )
        while not self.server.closing.wait(0.05):
            self.wfile.write(b"x")

    def answer_redirect(self, rest: str) -> None:
        """`redirect/N`: N redirects, then the body."""
        self.send(302, Location="/ok" if rest == "1" else f"/redirect/{int(rest) - 1}")

    def answer_loop(self, _: str) -> None:
        self.send(302, Location="/loop")

    def answer_away(self, scheme: str) -> None:
        self.send(301, Location={"file": "file:///etc/passwd", "ftp": "ftp://h/x", "bad": "http://[::1"}[scheme])

    def answer_long(self, rest: str) -> None:
        if rest == "declared":
            self.send(200, b"x" * 20_001)
        else:
            chunks = b"2710\r\n%s\r\n" % (b"x" * 10_000) * 50
            self.send(200, chunks + b"0\r\n\r\n", Transfer_Encoding="chunked")

    def answer_exact(self, _: str) -> None:
        self.send(200, b"x" * 20_000)

    def answer_cut(self, times: str) -> None:
        if self.server.asked.count(self.path) > int(times):
            self.send(200, BODY)
        else:
            self.send(200, BODY, Content_Length="15000")
            self.close_connection = True

    def answer_cookie(self, _: str) -> None:
        self.send(200, BODY, Set_Cookie="session=1; Path=/")

    def answer_login(self, _: str) -> None:
        self.send(200 if self.headers["Authorization"] == httpx.BasicAuth("me", "secret")._auth_header else 401, BODY)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that gives up is what is tested here


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server
        server.closing.set()


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(LIMITS)


# Over HTTP


def test_a_url_gives_the_bytes_of_its_body(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("ok")) == BODY
    assert server.headers[0]["User-Agent"].startswith("maskmill/")


def test_an_address_may_be_written_in_capitals(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("ok").replace("http", "HTTP")) == BODY


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, ImageNotFound), (410, ImageNotFound), (401, ImageForbidden), (403, ImageForbidden), (418, FetchFailed)],
)
def test_what_is_no_better_next_time_is_asked_once(
    server: Server, fetcher: Fetcher, status: int, error: type[ImageError]
) -> None:
    with pytest.raises(error, match=f"HTTP {status}"):
        fetcher.fetch(server.url(f"status/{status}"))
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_error_is_tried_again(server: Server, fetcher: Fetcher, status: int) -> None:
    assert fetcher.fetch(server.url(f"recovers/{status}/2")) == BODY
    assert len(server.asked) == 3


def test_a_server_that_always_fails_is_given_up(server: Server, fetcher: Fetcher) -> None:
    with pytest.raises(FetchFailed, match="HTTP 500") as caught:
        fetcher.fetch(server.url("status/500"))
    assert caught.value.code == "fetch_failed"
    assert len(server.asked) == 3


def test_the_pause_that_a_server_asks_for_is_kept(server: Server, fetcher: Fetcher) -> None:
    start = time.monotonic()
    assert fetcher.fetch(server.url("pause/1")) == BODY
    assert 1.0 <= time.monotonic() - start < BUSY_SECONDS


def test_a_host_that_asks_for_a_pause_of_an_hour_is_left_alone(server: Server, fetcher: Fetcher) -> None:
    start = time.monotonic()
    for path in ("pause/3600", "ok"):
        with pytest.raises(FetchFailed, match="wants a longer pause than we make: `maskmill retry` later"):
            fetcher.fetch(server.url(path))
    assert server.asked == ["/pause/3600"]
    assert fetcher.fetch(server.url("ok").replace("127.0.0.1", "localhost")) == BODY, "another host is not"
    assert time.monotonic() - start < BUSY_SECONDS


@pytest.mark.parametrize("path", ["silent", "drip/body", "drip/header"])
def test_a_slow_server_is_a_timeout_after_the_limit_and_not_asked_again(server: Server, path: str) -> None:
    start, fetcher = time.monotonic(), Fetcher(replace(LIMITS, timeout_seconds=1.0))
    with pytest.raises(FetchTimeout, match="no whole answer in 1 s"):
        fetcher.fetch(server.url(path))
    assert 0.9 < time.monotonic() - start < BUSY_SECONDS
    assert len(server.asked) == 1


def test_redirects_are_followed_up_to_the_limit(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("redirect/3")) == BODY
    for path in ("redirect/4", "loop"):
        with pytest.raises(FetchFailed, match="more than 3 redirects"):
            fetcher.fetch(server.url(path))


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirects_are_followed_only_to_http(server: Server, fetcher: Fetcher, scheme: str) -> None:
    with pytest.raises(ImageUnsupported, match=f"redirects to {scheme}"):
        fetcher.fetch(server.url(f"away/{scheme}"))


def test_a_redirect_to_nowhere_fails(server: Server, fetcher: Fetcher) -> None:
    with pytest.raises(FetchFailed):
        fetcher.fetch(server.url("away/bad"))


@pytest.mark.parametrize("path", ["long/declared", "long/chunked"])
def test_a_body_above_the_limit_is_too_large(server: Server, fetcher: Fetcher, path: str) -> None:
    with pytest.raises(ImageTooLarge, match="20,000 bytes"):
        fetcher.fetch(server.url(path))
    assert len(server.asked) == 1


def test_a_body_of_the_limit_is_not_too_large(server: Server, fetcher: Fetcher) -> None:
    assert len(fetcher.fetch(server.url("exact"))) == 20_000


def test_a_cut_body_is_fetched_again(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("cut/2")) == BODY
    with pytest.raises(FetchFailed, match="peer closed connection"):
        fetcher.fetch(server.url("cut/9"))


def test_a_refused_connection_is_tried_again_and_fails(fetcher: Fetcher) -> None:
    server = Server()
    server.server_close()
    with pytest.raises(FetchFailed, match="refused"):
        fetcher.fetch(server.url("ok"))


def test_user_and_password_of_a_url_are_sent_but_not_shown(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.url("login").replace("//", "//me:secret@")) == BODY
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(server.url("status/403?X-Signature=secret#secret").replace("//", "//me:secret@"))
    assert str(caught.value) == f"{server.url('status/403')}: HTTP 403"


def test_no_cookie_goes_from_one_image_to_the_next(server: Server, fetcher: Fetcher) -> None:
    for _ in range(2):
        fetcher.fetch(server.url("cookie"))
    assert "Cookie" not in server.headers[1]


def test_an_unused_fetcher_may_travel_to_another_process(server: Server) -> None:
    assert pickle.loads(pickle.dumps(Fetcher(LIMITS))).fetch(server.url("ok")) == BODY


@pytest.mark.parametrize(
    "uri",
    [
        *("ftp://h/a.jpg", "data:image/png;base64,*", "gs://b/k", "s3://b/k", "cat", ""),
        *("http://", "http:///x", "http://[::1/x", f"http://{'a' * 70}.org/", "http://h:x/", "http://h\n/x"),
    ],
)
def test_what_is_no_address_is_refused_in_one_short_line(fetcher: Fetcher, uri: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(uri)
    assert type(caught.value) in (ImageUnsupported, ImageNotFound)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


# Local files


def test_a_path_gives_the_bytes_of_the_file(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "a b#c?.jpg").write_bytes(BODY)
    assert fetcher.fetch(str(tmp_path / "a b#c?.jpg")) == BODY


@pytest.mark.parametrize("name", ["missing.jpg", "file/cat.jpg", "", "nul\0.jpg"])
def test_a_path_without_a_file_is_not_found(tmp_path: Path, fetcher: Fetcher, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageNotFound):
        fetcher.fetch(str(tmp_path / name) if "\0" not in name else f"{tmp_path}/{name}")


def test_a_large_file_is_too_large(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "large").write_bytes(bytes(20_001))
    with pytest.raises(ImageTooLarge):
        fetcher.fetch(str(tmp_path / "large"))


def test_a_file_takes_the_memory_of_its_bytes_not_of_the_limit(tmp_path: Path) -> None:
    """Or some fetches at a time use up a loader process's memory, and innocent images fail."""
    (tmp_path / "small").write_bytes(BODY)
    fetcher = Fetcher(FetchLimits(max_bytes=2**28))
    tracemalloc.start()
    assert fetcher.fetch(str(tmp_path / "small")) == BODY
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
def test_a_file_that_is_longer_than_it_said_is_not_taken_for_its_version(fetcher: Fetcher) -> None:
    with pytest.raises(FetchFailed, match="changed its size while it was read"):
        fetcher.fetch("/proc/self/status")  # says 0 bytes, as a file does that somebody begins to write


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path, fetcher: Fetcher) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageUnsupported, match="pipe"):
        fetcher.fetch(str(tmp_path / "pipe.jpg"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_forbidden(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "mine").write_bytes(BODY)
    (tmp_path / "mine").chmod(0)
    with pytest.raises(ImageForbidden):
        fetcher.fetch(str(tmp_path / "mine"))


# Objects


def reader(error: MaskmillError) -> ReadObject:
    def read(uri: str, max_bytes: int, known: str | None) -> Download:
        raise error

    return read


def test_an_object_is_read_with_the_limit() -> None:
    asked: list[tuple[object, ...]] = []
    fetcher = Fetcher(replace(LIMITS, max_bytes=7), lambda *said: asked.append(said) or Download("v", b"object"))
    assert fetcher.fetch("s3://bucket/a/b.jpg") == b"object"
    assert fetcher.download("s3://bucket/a/b.jpg", "w").version == "v"
    assert asked == [("s3://bucket/a/b.jpg", 7, None), ("s3://bucket/a/b.jpg", 7, "w")]


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (ObjectNotFound("no"), ImageNotFound),
        (ObjectForbidden("no"), ImageForbidden),
        (ObjectTooLarge("no"), ImageTooLarge),
        (UsageError("no"), ImageUnsupported),
        (StoreUnavailable("no"), StoreUnavailable),
    ],
)
def test_errors_of_the_store_become_those_of_the_image(stored: MaskmillError, seen: type[MaskmillError]) -> None:
    with pytest.raises(seen):
        Fetcher(LIMITS, reader(stored)).fetch("s3://bucket/a.jpg")


# Versions


@pytest.mark.parametrize("path", ["tagged/abc", "dated", "ok"])
def test_an_image_that_is_known_is_not_read_again(server: Server, fetcher: Fetcher, path: str) -> None:
    first = fetcher.download(server.url(path))
    assert first.data == BODY
    again = fetcher.download(server.url(path), first.version)
    assert again.unchanged
    assert again.version == first.version


def test_another_version_is_read(server: Server, fetcher: Fetcher) -> None:
    first = fetcher.download(server.url("tagged/abc"))
    assert fetcher.download(server.url("tagged/def"), first.version).data == BODY


def test_a_file_is_known_by_its_time_and_size(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    first = fetcher.download(str(tmp_path / "a.png"))
    assert fetcher.download(str(tmp_path / "a.png"), first.version).unchanged
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert fetcher.download(str(tmp_path / "a.png"), first.version).data == b"one"


def test_an_answer_of_not_modified_that_nobody_asked_for_is_a_failure(server: Server, fetcher: Fetcher) -> None:
    with pytest.raises(FetchFailed, match="304"):
        fetcher.download(server.url("status/304"))
