"""The main process of a worker: Celery's consumer, signals, and the open jobs, which it reconciles beside it."""

from __future__ import annotations

import os
import signal
import sys
from threading import Event, Thread
from typing import Any

import structlog
from celery.signals import worker_ready, worker_shutting_down
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state

from maskmill.errors import one_line
from maskmill.events import WorkerState
from maskmill.jobs.reconcile import reconcile
from maskmill.logs import configure_logs
from maskmill.queue import Queue
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill_worker.process.drain import drain_file, drain_on_signal
from maskmill_worker.process.health import HealthFile, signs_of_life
from maskmill_worker.tasks import make_app

log = structlog.get_logger(__name__)

RECONCILE_SECONDS = 5.0
"""How often a running worker looks for expired leases, lost messages and jobs to close."""

WITHOUT = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""What Celery's workers tell each other and us: the ledger says it all, and a last heartbeat waits for its broker for
ever."""


def serve(settings: Settings, name: str) -> None:
    """Be a worker until a signal ends it."""
    # Until Celery has handlers of its own: leave in order, nothing is in hand yet.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs(settings.log_json)
    node = node_name(name or f"worker{os.getpid()}@%h")
    app = make_app(settings)
    main = MainProcess(Services.connect(settings, Queue(settings, app)), node)
    worker_ready.connect(main.start, weak=False)
    worker_shutting_down.connect(main.stop, weak=False)
    with drain_file(), signs_of_life(HealthFile(node, settings.queue, settings.run_dir)):
        app.worker_main(["--quiet", "worker", "--loglevel=WARNING", *WITHOUT, "-n", node])


class MainProcess:
    """What a worker's main process does beside Celery's consumer."""

    def __init__(self, services: Services, node: str) -> None:
        self.services = services
        self.node = node
        self._stopping = Event()

    def start(self, **_: Any) -> None:
        """Celery's consumer is ready: hear signals, and reconcile the open jobs in a thread."""
        settings = self.services.settings
        drain_on_signal(settings.drain_seconds, busy=lambda: bool(state.active_requests))
        ready = WorkerState(self.node, "idle", settings.queue, "starting", settings.device, os.getpid())
        self.services.events.emit(ready)
        Thread(target=self._reconcile, name="reconcile", daemon=True).start()

    def stop(self, **_: Any) -> None:
        """A worker on its way out announces nothing more."""
        self._stopping.set()

    def _reconcile(self) -> None:
        while not self._stopping.wait(RECONCILE_SECONDS):
            try:
                self.services.ledger.alive(self.node)
                reconcile(self.services, self.node)
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever the servers say
                log.warning("not_reconciled", reason=one_line(error))


def node_name(name: str) -> str:
    """The full node name, with the host in the place of `%h`, as Celery makes it."""
    return str(host_format(default_nodename(name)))
