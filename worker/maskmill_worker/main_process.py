"""The main process of a worker: Celery's consumer, and threads beside it that keep watch and reconcile."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import structlog
from celery.apps import worker as celery_worker
from celery.signals import worker_ready, worker_shutting_down
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state as celery_state

from maskmill.errors import BrokerUnavailable, one_line
from maskmill.events import WorkerState
from maskmill.jobs.reconcile import reconcile
from maskmill.ledger.broker import check_broker, refuse_cluster
from maskmill.logs import configure_logs
from maskmill.machine import check_machine
from maskmill.queue import Queue
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill_worker.process.announce import announced
from maskmill_worker.process.drain import drain_file, drain_on_signal, draining
from maskmill_worker.process.health import HeartbeatFile, State, heartbeats
from maskmill_worker.process.hearing import Hearing, Verdict
from maskmill_worker.process.restart import restart
from maskmill_worker.process.sole_writer import SoleWriter
from maskmill_worker.tasks import make_app

log = structlog.get_logger(__name__)

RECONCILE_SECONDS = 5.0
"""How often a running worker offers to reconcile the open jobs."""

CHECK_SECONDS = 600.0
"""How often who reconciles says what is wrong with the broker; each worker does at its start."""

WATCH_SECONDS = 5.0
"""How often a worker looks whether it would hear of work."""

WITHOUT = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""What Celery's workers tell each other and us: the ledger says it all, and a last heartbeat waits for its broker for
ever."""


def serve(settings: Settings, name: str, environment: Mapping[str, str]) -> None:
    """Be a worker until a signal ends it; raises `UsageError` for a broker that is a cluster.

    `environment` is what a new start of this command gets.
    """
    # Until Celery has handlers of its own: leave in order, nothing is in flight yet.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs(settings.log_json)
    node = node_name(name or f"worker{os.getpid()}@%h")
    app = make_app(settings)
    services = Services.connect(settings, Queue(settings, app))
    file = HeartbeatFile(node, settings.queue, settings.run_dir)
    with heartbeats(file), announced(services.ledger, file), drain_file() as remove_drain_file:
        with suppress(BrokerUnavailable):  # it is waited for, and checked by who reconciles
            refuse_cluster(services.ledger.redis)
            check(services)
        for found in check_machine(settings):
            if not found.ok:
                log.warning("machine_unfit", check=found.name, reason=found.problem)
        sole_writer = SoleWriter(services)
        sole_writer.begin()

        def start_anew() -> None:
            remove_drain_file()
            restart(environment)

        main = MainProcess(services, file, start_anew, sole_writer)
        worker_ready.connect(main.start, weak=False)
        worker_shutting_down.connect(main.stop, weak=False)
        celery_worker.safe_say = lambda *_: None  # it writes past the log, and what it says the log has as `draining`
        app.worker_main(["--quiet", "worker", "--loglevel=WARNING", *WITHOUT, "-n", node])


def check(services: Services) -> None:
    """Log what is wrong with the broker for good, a line each; raises `BrokerUnavailable`."""
    for found in check_broker(services.ledger.redis, services.settings.queue):
        if not found.ok:
            log.warning("broker_unfit", reason=found.problem)


class MainProcess:
    """What a worker's main process does beside Celery's consumer, in two threads."""

    def __init__(
        self, services: Services, file: HeartbeatFile, start_anew: Callable[[], None], sole_writer: SoleWriter
    ) -> None:
        self.services = services
        self._sole_writer = sole_writer
        self._file = file
        self._start_anew = start_anew
        self._hearing = Hearing()
        self._check_at = time.monotonic() + CHECK_SECONDS
        self._consumer: Any = None
        self._stopping = Event()

    def start(self, sender: Any, **_: Any) -> None:
        """Celery's consumer is ready, for the first time."""
        self._consumer = sender
        drain_on_signal(self.services.settings.drain_seconds, busy=lambda: bool(celery_state.active_requests))
        self._become(State.IDLE)
        Thread(target=self._repeat, args=(self._watch, WATCH_SECONDS), name="watch", daemon=True).start()
        Thread(target=self._repeat, args=(self._reconcile, RECONCILE_SECONDS), name="reconcile", daemon=True).start()

    def stop(self, **_: Any) -> None:
        """A worker on its way out looks after no job any more."""
        self._stopping.set()

    def _repeat(self, act: Callable[[], None], seconds: float) -> None:
        while not self._stopping.wait(seconds):
            try:
                act()
            except Exception as error:  # noqa: BLE001 - these threads must outlive whatever the servers say
                log.warning(f"no_{act.__name__.strip('_')}", reason=one_line(error))

    def _reconcile(self) -> None:
        elected = reconcile(self.services, self._file.node)
        if elected and time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + CHECK_SECONDS
            check(self.services)

    def _watch(self) -> None:
        """Mend the worker if it would not hear of work."""
        self._sole_writer.go_on()
        busy = bool(celery_state.reserved_requests)
        if draining():
            self._become(State.DRAINING)
            return
        if self._file.state is not State.DEAF or busy:
            self._become(State.WORKING if busy else State.IDLE)
        taken = celery_state.all_total_count[0]
        self._act(self._hearing.judge(time.monotonic(), taken=taken, busy=busy, work_waits=self._work_waits()))

    def _work_waits(self) -> bool:
        queue, ledger = self.services.queue, self.services.ledger
        return bool(ledger.queue_length(queue.name)) and bool(ledger.claimable(1))

    def _act(self, verdict: Verdict) -> None:
        match verdict:
            case Verdict.RECONNECT:
                self._become(State.DEAF, "messages and shards wait, and it takes none: its connection is made anew")
                self._consumer.hub.call_soon(_lose_connection)
            case Verdict.RESTART:
                log.error("worker_restarts", node=self._file.node, reason="still deaf with a new connection")
                self._start_anew()
            case Verdict.HEARS if self._file.state is State.DEAF:
                self._become(State.IDLE)

    def _become(self, state: State, reason: str = "") -> None:
        before = self._file.change(state)
        if before:
            settings = self.services.settings
            self.services.events.emit(
                WorkerState(self._file.node, state, settings.queue, before, settings.device, os.getpid(), reason)
            )


def _lose_connection() -> None:
    """Have Celery's consumer, in whose loop this runs, connect anew as after a lost connection."""
    raise ConnectionResetError("the worker hears of no work")


def node_name(name: str) -> str:
    """The full node name, with the host in the place of `%h`, as Celery makes it."""
    return str(host_format(default_nodename(name)))
