"""Many objects deleted at once, against a real store, and against one that refuses some of the keys."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maskmill.errors import ObjectForbidden, StoreUnavailable
from maskmill.settings import S3Settings, Settings
from maskmill.storage.store import Store
from tests.serving import serving


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.out, settings.s3)


def test_more_keys_than_a_request_takes_are_all_deleted(store: Store) -> None:
    keys = [f"a/{n:04d}" for n in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), [*keys, "b"]))

    assert store.delete_all(iter(keys)) == 1003
    assert [item.key for item in store.list()] == ["b"]


def test_keys_that_are_not_there_are_no_error(store: Store) -> None:
    store.put("a b&<c>'ü.png", b"x")
    assert store.delete_all(["gone", "a b&<c>'ü.png"]) == 2
    assert store.delete_all([]) == 0
    assert list(store.list()) == []


@contextmanager
def store_that_says(codes: list[str]) -> Iterator[Store]:
    """An S3 server that answers each DeleteObjects with the next of these codes for one of its keys; '' for none."""
    left = iter(codes)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            code = next(left, "")
            error = f"<Error><Key>out/b</Key><Code>{code}</Code><Message>no</Message></Error>" if code else ""
            body = f"<DeleteResult><Deleted><Key>out/a</Key></Deleted>{error}</DeleteResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        s3 = S3Settings(
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            region="r",
            access_key_id="a",
            secret_access_key="s",  # type: ignore[arg-type]
        )
        yield Store("s3://bucket/out", s3)


def test_a_key_that_may_not_be_deleted_is_named_though_the_request_went_well() -> None:
    with store_that_says(["AccessDenied"]) as store, pytest.raises(ObjectForbidden, match="s3://bucket/out/b"):
        store.delete_all(["a", "b"])


def test_a_key_that_fails_for_the_moment_is_tried_again() -> None:
    with store_that_says(["InternalError", "SlowDown"]) as store:
        assert store.delete_all(["a", "b"]) == 2
    with store_that_says(["InternalError"] * 9) as store, pytest.raises(StoreUnavailable, match="InternalError"):
        store.delete_all(["a", "b"])


def test_a_key_that_is_gone_by_now_is_deleted() -> None:
    with store_that_says(["NoSuchKey"]) as store:
        assert store.delete_all(["a", "b"]) == 2
