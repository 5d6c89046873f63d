"""Addresses that carry their own right: presigned by a real store, and with user and password."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import pytest

from maskmill import Settings
from maskmill.access import Access
from maskmill.errors import ImageForbidden, ImageUnsupported
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.services import Services
from maskmill.storage.client import new_client
from maskmill.storage.reader import ObjectReader
from tests.conftest import wait_for
from tests.serving import serving

KEYS = ["photos/a.jpg", "photos/a b+c&d=e%20f.jpg", "photos/кот #1?.jpg", "photos/(1)~'!*.jpg"]


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(FetchLimits(attempts=1), access=Access(("127.0.0.1",)))


def presigned(settings: Settings, key: str, seconds: int = 600) -> str:
    where = {"Bucket": settings.bucket, "Key": f"{settings.prefix}/{key}"}
    return new_client(settings.s3).generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)


@pytest.mark.parametrize("key", KEYS)
def test_a_presigned_address_is_fetched_as_it_is_written(
    services: Services, settings: Settings, fetcher: Fetcher, key: str
) -> None:
    services.store(settings.out).put(key, b"image")
    first = fetcher.download(presigned(settings, key))
    assert first.data == b"image"
    assert fetcher.download(presigned(settings, key, 601), first.version).unchanged


def test_a_signature_that_is_over_is_said_without_being_shown(
    services: Services, settings: Settings, fetcher: Fetcher
) -> None:
    services.store(settings.out).put("a.jpg", b"image")
    signed, wrong = presigned(settings, "a.jpg", 1), presigned(settings, "a.jpg")[:-8] + "00000000"

    def is_over() -> bool:
        time.sleep(0.5)
        try:
            return not fetcher.fetch(signed)
        except ImageForbidden:
            return True

    wait_for(is_over, lambda: "the signature still holds", 60)
    for uri in (signed, wrong):
        with pytest.raises(ImageForbidden) as caught:
            fetcher.fetch(uri)
        assert str(caught.value) == f"{uri.partition('?')[0]}: HTTP 403"


@pytest.mark.parametrize("signed", [True, False])
def test_an_object_that_was_stored_compressed_is_read(
    services: Services, settings: Settings, fetcher: Fetcher, signed: bool
) -> None:
    image, key = bytes(range(256)) * 9, f"{settings.prefix}/a.jpg"
    body = brotli.compress(image)
    new_client(settings.s3).put_object(Bucket=settings.bucket, Key=key, Body=body, ContentEncoding="br")
    fetcher.read_object = ObjectReader(settings.s3)
    assert fetcher.fetch(presigned(settings, "a.jpg") if signed else f"s3://{settings.bucket}/{key}") == image


class Gate(BaseHTTPRequestHandler):
    """Gives back whom it let in."""

    def do_GET(self) -> None:
        body = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic "))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line a request."""


@pytest.fixture
def gate() -> Iterator[int]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Gate)) as server:
        yield server.server_port


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("me:pass-word@", b"me:pass-word"),
        ("me:p%2Fa%3Fs%23s%40%3A@", b"me:p/a?s#s@:"),
        ("me:p@ss@", b"me:p@ss"),
        ("to-ken@", b"to-ken:"),
        (":pass-word@", b":pass-word"),
    ],
)
def test_user_and_password_are_sent_as_they_are_meant(gate: int, fetcher: Fetcher, written: str, sent: bytes) -> None:
    assert fetcher.fetch(f"http://{written}127.0.0.1:{gate}/a.jpg") == sent


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss", "pa#ss"])
def test_a_password_that_must_be_escaped_is_said_to_be_that_and_not_shown(fetcher: Fetcher, password: str) -> None:
    with pytest.raises(ImageUnsupported, match="in a user or password, / is %2F") as caught:
        fetcher.fetch(f"http://me:{password}@127.0.0.1/a.jpg")
    assert "pa" not in str(caught.value).replace("password", "")
