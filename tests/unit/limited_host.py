"""A web server that allows so many requests a second, and says `Retry-After` to the others."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import serving


class LimitedHost(ThreadingHTTPServer):
    """Gives `body` for every path; `statuses` counts its answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, per_second: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.per_second = per_second
        self.body = body
        self.statuses: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._allowed: deque[float] = deque()

    def url(self, path: object) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def allows(self) -> bool:
        """Whether one more request is within the limit: so many in any second."""
        with self._lock:
            now = time.monotonic()
            while self._allowed and self._allowed[0] < now - 1:
                self._allowed.popleft()
            if len(self._allowed) < self.per_second:
                self._allowed.append(now)
                return True
            return False

    @property
    def refused(self) -> int:
        """Requests that were too many."""
        return self.statuses[429] + self.statuses[503]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LimitedHost

    def do_GET(self) -> None:
        server = self.server
        status = 200 if server.allows() else (429, 503)[server.refused % 2]
        server.statuses[status] += 1
        body = server.body if status == 200 else b"too many"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        elif status == 503:
            self.send_header("Retry-After", formatdate(time.time() + 1, usegmt=True))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line a request."""


@contextmanager
def limited_host(per_second: int, body: bytes = b"image") -> Iterator[LimitedHost]:
    with serving(LimitedHost(per_second, body)) as server:
        yield server
