"""An HTTP server for one folder that waits before each answer: a child process of benchmark D.

It shares the machine's cores with what is measured, so it does next to nothing: answers lie ready in memory.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from benchmarks.child import serve

LATENCY_SECONDS = 0.1


class SlowProtocol(asyncio.Protocol):
    """One kept-open connection that sends one GET after the other; each is answered after `LATENCY_SECONDS`."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers = answers
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - the type of asyncio.Protocol is wider
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer later once the request's head is whole."""
        self.received += data
        if b"\r\n\r\n" in self.received:
            answer = self.answers[self.received.split(b" ", 2)[1]]
            self.received = b""
            asyncio.get_running_loop().call_later(LATENCY_SECONDS, self.transport.write, answer)


def start(folder: str) -> str:
    """Serve the folder's files on a free port of this machine; returns the address."""
    answers = {f"/{path.name}".encode(): _answer(path.read_bytes()) for path in Path(folder).iterdir()}
    port: Future[int] = Future()

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: SlowProtocol(answers), "127.0.0.1", 0)
        port.set_result(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    Thread(target=asyncio.run, args=(run(),), daemon=True).start()
    return f"http://127.0.0.1:{port.result()}"


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body


if __name__ == "__main__":
    serve({"start": start})
