"""A proxy before an S3 store that answers as named stores are reported to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.serving import serving

Headers = dict[str, str]
Refusal = tuple[int, str]


def conditional(request: Request) -> bool:
    return request.method == "PUT" and bool({"if-none-match", "if-match"} & request.headers.keys())


@dataclass
class Request:
    """What came; a mode may change its headers."""

    method: str
    path: str
    headers: Headers

    @property
    def in_bucket(self) -> bool:
        return len(self.path.split("?")[0].strip("/").split("/")) > 1

    def has(self, *names: str) -> bool:
        return any(name in self.headers for name in names)


def when(condition: Callable[[Request], bool], status: int, code: str) -> Callable[[Request], Refusal | None]:
    return lambda request: (status, code) if condition(request) else None


def without_conditions(request: Request) -> None:
    if request.method == "PUT":
        request.headers.pop("if-none-match", None)
        request.headers.pop("if-match", None)


BEFORE: Mapping[str, Callable[[Request], Refusal | None]] = {
    "conditions answered with 501 (Backblaze B2)": when(conditional, 501, "NotImplemented"),
    "conditions answered with 400 (Wasabi)": when(conditional, 400, "InvalidArgument"),
    "conditions ignored (rclone, older Ceph)": without_conditions,
    "If-Match answered with 501 (an older R2)": when(
        lambda request: request.method == "PUT" and request.has("if-match"), 501, "NotImplemented"
    ),
    "checksum headers refused (B2, GCS)": when(
        lambda request: (
            any("checksum" in name for name in request.headers)
            or "content-encoding" in request.headers
            or "STREAMING" in request.headers.get("x-amz-content-sha256", "")
        ),
        400,
        "InvalidArgument",
    ),
    "checksum mode refused": when(lambda request: request.has("x-amz-checksum-mode"), 501, "NotImplemented"),
    "Content-MD5 wanted for batch deletions (GCS, older MinIO)": when(
        lambda request: request.method == "POST" and not request.has("content-md5"), 400, "InvalidRequest"
    ),
    "no batch deletions (GCS)": when(lambda request: request.method == "POST", 501, "NotImplemented"),
    "no right to list": when(
        lambda request: request.method == "GET" and "list-type" in request.path, 403, "AccessDenied"
    ),
    "no right to put without SSE-KMS": when(
        lambda request: request.method == "PUT" and request.in_bucket, 403, "AccessDenied"
    ),
    "no right to delete": when(lambda request: request.method == "DELETE", 403, "AccessDenied"),
    "another region": when(lambda request: request.in_bucket, 400, "AuthorizationHeaderMalformed"),
}
"""A mode's refusal of a request, or what it does to it."""


def kms_tag(status: int, headers: Headers) -> None:
    for name in headers:
        if name.lower() == "etag" and status == 200:
            headers[name] = f'"{hashlib.sha256(headers[name].encode()).hexdigest()[:32]}-k"'


def checksum(status: int, headers: Headers) -> None:
    headers["x-amz-checksum-crc32"] = "AAAAAA=="


def no_tag(status: int, headers: Headers) -> None:
    for name in [name for name in headers if name.lower() == "etag"]:
        del headers[name]


AFTER: Mapping[str, Callable[[int, Headers], None]] = {
    "ETags that are no MD5 (SSE-KMS)": kms_tag,
    "a wrong checksum on each answer (rclone's 304, a cache)": checksum,
    "no ETags": no_tag,
}
"""What a mode does to an answer's headers."""


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, mode: str) -> None:
        self.target, self.mode = target, mode
        self.seen: list[Request] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        self.server.seen.append(Request(request.method, request.path, dict(request.headers)))
        before, after = BEFORE.get(self.server.mode), AFTER.get(self.server.mode)
        if before and (refused := before(request)):
            self.refuse(*refused)
            return
        with httpx.Client(trust_env=False, timeout=60) as client:
            found = client.request(
                request.method, self.server.target + self.path, content=body, headers=request.headers
            )
        headers = {name: value for name, value in found.headers.items() if name not in ("transfer-encoding", "date")}
        if after:
            after(found.status_code, headers)
        self.answer(found.status_code, headers, found.content)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the base class

    def refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>not here</Message></Error>".encode()
        self.answer(status, {"content-type": "application/xml"}, text)

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.send_response_only(status)
        if self.command != "HEAD" and status not in (204, 304):
            headers["content-length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)


@contextmanager
def answering(target: str, mode: str) -> Iterator[Proxy]:
    """A running proxy for the length of the block."""
    with serving(Proxy(target, mode)) as proxy:
        yield proxy
