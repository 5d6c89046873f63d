"""The Celery app of a worker: one task, and what its processes do when they start and stop.

The signal handlers stand beside the task because a spawned pool process loads only modules that define tasks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from threading import Event, Thread
from typing import Any

import structlog
from billiard import current_process
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state

from maskmill.errors import DeviceLost, MaskmillError, UsageError, one_line
from maskmill.jobs.admission import tend
from maskmill.logs import configure_logs
from maskmill.queue import PROCESS_SHARD, Queue, new_app
from maskmill.schema import ShardMessage
from maskmill.services import Services
from maskmill.settings import load_settings
from maskmill.storage.store import WORKER_ATTEMPTS
from maskmill_worker.process.drain import drain_on_signal
from maskmill_worker.process.parent import die_with_parent

settings = load_settings()
app = new_app(settings)
log = structlog.get_logger(__name__)

EXIT_DEVICE_LOST = 70
TEND_SECONDS = 5.0
"""How often a running worker looks for expired leases, lost messages and jobs to close."""

_process: dict[str, Any] = {}
_stopping = Event()


@app.task(name=PROCESS_SHARD)  # type: ignore[untyped-decorator]
def process_shard(message: dict[str, Any]) -> None:
    """Work on the shard that the message hints at and on its next ones; a malformed message is logged and dropped."""
    from maskmill_worker.shards.shard import process_shards as run

    try:
        hint = ShardMessage.model_validate(message)
    except ValueError:
        log.error("message_dropped", record=str(message)[:200])  # noqa: TRY400 - a stranger's text needs no traceback
        return
    try:
        worker = _shard_worker()
    except UsageError as error:
        log.error("worker_unusable", code=error.code, reason=str(error))  # noqa: TRY400 - the reason says it all
        os.kill(os.getppid(), signal.SIGTERM)
        return
    try:
        run(worker, hint)
    except DeviceLost:
        # Nothing computed from here on can be trusted: Celery starts a new process, with a new CUDA context.
        os._exit(EXIT_DEVICE_LOST)
    except MaskmillError as error:
        # Nothing was claimed, or it was given back: the ledger announces the shard again.
        log.warning("shard_not_processed", job=hint.job, shard=hint.shard, code=error.code, reason=str(error))


def _shard_worker() -> Any:
    if "worker" not in _process:
        from maskmill_worker.shards.shard import ShardWorker

        services = Services.connect(settings, Queue(settings, app), WORKER_ATTEMPTS)
        _process["worker"] = ShardWorker(services, _models())
    return _process["worker"]


def _models() -> Any:
    from maskmill_worker.model.models import Models
    from maskmill_worker.process.device import torch_device

    return Models(
        torch_device(settings.device),
        compiled=settings.compile,
        allowed=settings.allowed_models,
        trusted=settings.trusted_models,
    )


@worker_process_init.connect  # type: ignore[untyped-decorator]
def start_process(**_: object) -> None:
    """Prepare a pool process: end with its worker, log like it, and be allowed DataLoader processes."""
    die_with_parent(current_process()._parent_pid)  # noqa: SLF001 - there is no public way
    configure_logs(settings.log_json)
    # billiard's pool processes are daemons, which may not have children (facts-celery-redis.md).
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # noqa: SLF001


@worker_ready.connect  # type: ignore[untyped-decorator]
def start_worker(sender: Any, **_: object) -> None:
    """Hear signals, and tend the open jobs from a thread of the main process, so that no other process is needed."""
    drain_on_signal(settings.drain_seconds, busy=lambda: bool(state.active_requests))
    node = str(sender.hostname)
    log.info("worker_ready", node=node, queue=settings.queue, device=settings.device, pid=os.getpid())
    Thread(target=_tend, args=(node,), name="tend", daemon=True).start()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def stop_tending(**_: object) -> None:
    """A worker on its way out announces nothing more."""
    _stopping.set()


def node_name(name: str) -> str:
    """The full node name, with the host in the place of `%h`, as Celery makes it."""
    return str(host_format(default_nodename(name)))


def _tend(node: str) -> None:
    services = Services.connect(settings, Queue(settings, app))
    while not _stopping.wait(TEND_SECONDS):
        try:
            services.ledger.alive(node)
            tend(services)
        except Exception as error:  # noqa: BLE001 - this thread must outlive whatever the servers say
            log.warning("not_tended", reason=one_line(error))
