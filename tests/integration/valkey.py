"""Valkey servers with settings of a test's own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from maskmill_producer.embedded.broker import binary
from maskmill_producer.embedded.ports import HOST, free_ports

START_SECONDS = 30.0


@contextmanager
def valkey(folder: Path, *lines: str) -> Iterator[int]:
    """A server with these lines of configuration, on a free port of this machine; gives the port."""
    port, bus = free_ports(2)  # by default a cluster's bus is at the port plus 10,000, which may be none
    config = "\n".join([f"port {port}", f"cluster-port {bus}", f"bind {HOST}", 'save ""', f"dir {folder}", *lines])
    process = subprocess.Popen([binary(), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin
    process.stdin.write(config.encode())
    process.stdin.close()
    with listening(process, port):
        yield port


@contextmanager
def listening(process: subprocess.Popen[bytes], port: int) -> Iterator[None]:
    """The server answers in the block, and is gone after it."""
    try:
        wait_until_it_listens(port)
        yield
    finally:
        process.kill()
        process.wait()


def wait_until_it_listens(port: int) -> None:
    """A server that asks for a password, or loads its data, listens too."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"no server listens on port {port}")


def url(port: int, user: str = "") -> str:
    """The address of a database; `user` is `name:password@`."""
    return f"redis://{user}{HOST}:{port}/0"


def client(port: int) -> Redis:
    """A connection of the default user's."""
    return Redis.from_url(url(port), decode_responses=True, socket_timeout=5)
