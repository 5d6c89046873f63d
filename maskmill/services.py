"""What both sides talk to, made once from the settings and passed on: ledger, queue, stores and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from maskmill.broker.connection import connect
from maskmill.events import Events
from maskmill.ledger.ledger import Ledger
from maskmill.queue import Queue
from maskmill.settings import Settings
from maskmill.storage.sole_writer import SoleWriterStore
from maskmill.storage.store import ATTEMPTS, Store

READING_THREADS = 24
"""Connections beside those that upload, for threads that read: 16 that copy masks, and 4 that read their account."""


@dataclass
class Services:
    """Connections to broker and store; stores are kept by output prefix. Shared by threads, not by processes."""

    settings: Settings
    ledger: Ledger
    queue: Queue
    store_attempts: int = ATTEMPTS
    events: Events = field(default_factory=Events)
    _stores: dict[str, Store] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def connect(cls, settings: Settings, queue: Queue | None = None, store_attempts: int = ATTEMPTS) -> Services:
        """Make the clients; nothing is sent before the first use."""
        redis = connect(settings.broker_url.get_secret_value(), settings.broker_tls)
        ledger = Ledger(redis, settings.queue)
        return cls(settings, ledger, queue or Queue(settings), store_attempts)

    def store(self, out: str) -> Store:
        """The store below the output prefix `out`."""
        with self._lock:
            if out not in self._stores:
                connections = self.settings.upload_threads + READING_THREADS
                kind = SoleWriterStore if self.settings.store_without_conditions else Store
                self._stores[out] = kind(out, self.settings.s3, connections, self.store_attempts)
            return self._stores[out]
