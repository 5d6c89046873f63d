"""A broker with a replica behind one address, as a managed Redis has: the address leads to whoever is primary now."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from maskmill_producer.embedded.broker import binary
from maskmill_producer.embedded.ports import HOST, free_ports
from tests.conftest import wait_for

CONFIG = ("--save", "", "--appendonly", "no", "--bind", HOST, "--repl-diskless-sync-delay", "0")


class Switch:
    """An address whose new connections go to `target`, a port; those that are there stay where they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection((HOST, self.target))
                except OSError:
                    client.close()
                    continue
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Node:
    """One valkey-server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        [self.port] = free_ports(1)
        command = [binary(), "--port", str(self.port), "--dir", str(folder), *CONFIG]
        with (folder / "log").open("wb") as log:
            self.process = psutil.Popen(command, stdout=log, stderr=log)
        self.redis = Redis(HOST, self.port, decode_responses=True, socket_timeout=5)
        wait_for(self.answers, (folder / "log").read_text)

    def answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.redis.ping())
        return False

    def follow(self, primary: Node) -> None:
        """Become the replica of `primary`, and have all that it has."""
        self.redis.replicaof(HOST, str(primary.port))
        wait_for(lambda: self.redis.info("replication")["master_link_status"] == "up", lambda: self.redis.info())

    def end(self) -> None:
        self.process.resume()
        self.process.kill()
        self.process.wait()


class ReplicatedBroker:
    """Two servers behind a switch, and what becomes of them in a failover and in a role swap."""

    def __init__(self, folder: Path) -> None:
        self.primary, self.replica = Node(folder / "one"), Node(folder / "two")
        self.replica.follow(self.primary)
        self.switch = Switch(self.primary.port)
        self.url = f"redis://{HOST}:{self.switch.port}/0"

    def fail_over(self) -> None:
        """The primary's host freezes, its connections stay open and silent; the replica is promoted."""
        self._wait_until_in_step()
        self.primary.process.suspend()
        self._promote()

    def swap_roles(self) -> None:
        """The replica is promoted; the primary follows it, stays up and answers READONLY."""
        self._wait_until_in_step()
        self._promote()
        self.replica.follow(self.primary)

    def mend(self) -> None:
        """The server that froze comes back as a replica."""
        self.replica.process.resume()
        self.replica.follow(self.primary)

    def end(self) -> None:
        self.switch.close()
        self.primary.end()
        self.replica.end()

    def _promote(self) -> None:
        self.replica.redis.replicaof("NO", "ONE")
        self.switch.target = self.replica.port
        self.primary, self.replica = self.replica, self.primary

    def _wait_until_in_step(self) -> None:
        assert self.primary.redis.wait(1, 10_000) == 1


@contextmanager
def replicated_broker(folder: Path) -> Iterator[ReplicatedBroker]:
    """A pair for the length of the block."""
    folder.mkdir(parents=True)
    pair = ReplicatedBroker(folder)
    try:
        yield pair
    finally:
        pair.end()
