"""The one Celery task of a worker, and the pool process that runs it.

Celery's spawned pool process makes the app anew from its configuration, imports this module because the configuration
includes it, and finds the task and the settings in the app. Nothing is read from the environment at import.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import cache
from typing import TYPE_CHECKING

import structlog
from billiard import current_process
from celery import Celery, current_app, shared_task
from celery.signals import setup_logging, worker_process_init

from maskmill.errors import DeviceLost, MaskmillError, UsageError
from maskmill.logs import adopt_loggers, configure_logs
from maskmill.parent import die_with_parent
from maskmill.queue import WORK, Queue, new_app
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage.store import WORKER_ATTEMPTS

if TYPE_CHECKING:
    from maskmill_worker.shards.worker import ShardWorker  # loads torch

log = structlog.get_logger(__name__)

EXIT_DEVICE_LOST = 70


def make_app(settings: Settings) -> Celery:
    """The Celery app of a worker: that of the queue, with the task, and with the settings for the pool process."""
    app = new_app(settings)
    app.conf.update(include=[__name__], maskmill_settings=settings)
    return app


def settings_of(app: Celery) -> Settings:
    """The settings that the app was made from, in whichever process of the worker."""
    settings: Settings = app.conf.maskmill_settings
    return settings


@shared_task(name=WORK)  # type: ignore[untyped-decorator]
def work(*_: object, **__: object) -> None:
    """Work on shards until the ledger has none for this worker. What a stranger's message says is ignored."""
    try:
        worker = shard_worker()
    except UsageError as error:
        log.error("worker_unusable", code=error.code, reason=str(error))  # noqa: TRY400 - the reason says it all
        os.kill(os.getppid(), signal.SIGTERM)
        return
    from maskmill_worker.shards.flow import process_shards

    try:
        process_shards(worker)
    except DeviceLost:
        # Nothing computed from here on can be trusted: Celery starts a new process, with a new CUDA context.
        os._exit(EXIT_DEVICE_LOST)
    except MaskmillError as error:
        # Nothing was claimed, or it was given back: another message will come for it.
        log.warning("shards_not_processed", code=error.code, reason=str(error))


@cache
def shard_worker() -> ShardWorker:
    """This process's connections, model and loaders, made at its first message; raises `UsageError`."""
    from maskmill_worker.model.models import Models
    from maskmill_worker.process.device import torch_device
    from maskmill_worker.shards.worker import ShardWorker

    adopt_loggers()
    settings = settings_of(current_app)
    models = Models(
        torch_device(settings.device),
        compiled=settings.compile,
        allowed=settings.allowed_models,
        trusted=settings.trusted_models,
    )
    return ShardWorker(Services.connect(settings, Queue(settings, current_app), WORKER_ATTEMPTS), models)


@setup_logging.connect  # type: ignore[untyped-decorator]
def leave_logs_alone(**_: object) -> None:
    """Who listens to this signal sets up the logs in Celery's place: `configure_logs` has."""


@worker_process_init.connect  # type: ignore[untyped-decorator]
def start_process(**_: object) -> None:
    """Prepare a pool process: end with its worker, log like it, be allowed DataLoader processes, and load torch.

    The model itself is loaded once a shard is claimed: a message for nothing loads nothing.
    """
    die_with_parent(current_process()._parent_pid)  # noqa: SLF001 - there is no public way
    configure_logs(settings_of(current_app).log_json)
    # billiard's pool processes are daemons, which may not have children (facts-celery-redis.md).
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # noqa: SLF001
    from maskmill_worker.model import models  # noqa: F401 - seconds, which the first shard need not wait for
    from maskmill_worker.shards import flow  # noqa: F401
