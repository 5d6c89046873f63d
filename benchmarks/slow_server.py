"""An HTTP server for one folder that waits before each answer: a child process of benchmark D."""

from __future__ import annotations

import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from benchmarks.child import serve

LATENCY_SECONDS = 0.1


class SlowHandler(SimpleHTTPRequestHandler):
    """Files of the folder, each after `LATENCY_SECONDS`; connections are kept open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes: Nagle would add 40 ms to the latency

    def do_GET(self) -> None:
        """Wait, then send the file."""
        time.sleep(LATENCY_SECONDS)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """No line a request."""


class Server(ThreadingHTTPServer):
    """A thread a connection."""

    daemon_threads = True
    request_queue_size = 128


def start(folder: str) -> str:
    """Serve the folder on a free port of this machine; returns the address."""
    server = Server(("127.0.0.1", 0), partial(SlowHandler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


if __name__ == "__main__":
    serve({"start": start})
