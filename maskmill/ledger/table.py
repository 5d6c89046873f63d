"""One queue's part of the broker: the names of its keys, and scripts that run there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from maskmill.broker.connection import broker_errors
from maskmill.ledger.scripts import script


class Table:
    """What the parts of the ledger share. Every method raises `BrokerUnavailable` when it cannot act."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self.redis: Any = redis
        self.prefix = f"maskmill:{queue}"
        self._scripts: dict[str, Any] = {}

    def key(self, name: str, part: str = "") -> str:
        """The key of the queue, or of a job's part: `key("open")`, `key(job, "meta")`."""
        return f"{self.prefix}:{name}:{part}" if part else f"{self.prefix}:{name}"

    def run(self, name: str, *arguments: Any) -> Any:
        """What the script answers."""
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(script(name))
        with self.errors():
            return self._scripts[name](args=[self.prefix, *arguments])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the broker's errors into ours."""
        with broker_errors(self.redis):
            yield


def milliseconds(seconds: float) -> int:
    """Seconds as the scripts take them."""
    return round(seconds * 1000)
