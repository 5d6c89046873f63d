"""How a bucket of images is asked: versions, public buckets, buckets whose requesters pay. A server notes requests."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from maskmill.images.entries import Entry
from maskmill.images.sources import expand
from maskmill.jobs.submit import reach_of
from maskmill.settings import S3Settings, Settings
from maskmill.storage.reader import ObjectReader
from tests.serving import serving

LISTING = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/a.jpg</Key>
<Size>3</Size><ETag>"e"</ETag><LastModified>2026-11-27T00:00:00Z</LastModified></Contents></ListBucketResult>"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        body = LISTING if "list-type" in self.path else b"img"
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        server.asked = []  # type: ignore[attr-defined]
        yield server


def settings_of(server: Any, **changes: Any) -> Settings:
    s3 = S3Settings(
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        access_key_id="a",
        secret_access_key="b",  # type: ignore[arg-type]
        region="x",
    )
    return Settings(source_s3=s3, **changes)


def fetched(settings: Settings, url: str) -> bytes | None:
    return ObjectReader(settings.source_store)(url, 100).data


def listed(settings: Settings, *, anonymous: bool = False) -> list[Entry]:
    return list(expand(["s3://b/p/"], reach=reach_of(settings, anonymous=anonymous)))


def test_requests_are_signed_and_pay_for_nobody_unless_asked(server: Any) -> None:
    assert listed(settings_of(server)) == ["s3://b/p/a.jpg"]
    assert fetched(settings_of(server), "s3://b/p/a.jpg") == b"img"
    for _, headers in server.asked:
        assert "Authorization" in headers
        assert "x-amz-request-payer" not in headers


def test_a_version_of_an_object_is_the_one_that_is_read(server: Any) -> None:
    fetched(settings_of(server), "s3://b/p/a.jpg?versionId=v7")
    [(path, _)] = server.asked
    assert path == "/b/p/a.jpg?versionId=v7"


@pytest.mark.parametrize("by_job", [True, False])
def test_a_public_bucket_is_read_without_credentials(server: Any, by_job: bool) -> None:
    settings = settings_of(server, anonymous=not by_job)
    assert listed(settings, anonymous=by_job) == ["s3://b/p/a.jpg"]
    assert fetched(settings_of(server, anonymous=True), "s3://b/p/a.jpg") == b"img"
    assert len(server.asked) == 2
    for _, headers in server.asked:
        assert "Authorization" not in headers


def test_whoever_reads_a_bucket_may_pay_for_it(server: Any) -> None:
    listed(settings_of(server, requester_pays=True))
    fetched(settings_of(server, requester_pays=True), "s3://b/p/a.jpg")
    assert [headers["x-amz-request-payer"] for _, headers in server.asked] == ["requester"] * 2
