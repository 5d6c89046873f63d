"""Admission: a bounded window of announced shards for each job, and a second announcement for those that got lost.

Anybody may tend at any time (a committing worker, an idle one, a watching client): the scripts are atomic.
"""

from __future__ import annotations

import structlog

from maskmill.errors import MaskmillError
from maskmill.jobs.account import close_job
from maskmill.jobs.cancel import settle
from maskmill.services import Services

log = structlog.get_logger(__name__)

SHARDS_A_WORKER = 3
MIN_WINDOW = 4
MAX_REAPED = 1000
"""Shards of one job that are announced again in one go."""


def window(services: Services) -> int:
    """How many shards of one job wait for a worker: as the settings say, else three for each worker that is there."""
    return services.settings.window or max(MIN_WINDOW, SHARDS_A_WORKER * services.ledger.workers())


def top_up(services: Services, job: str, out: str, places: int) -> list[int]:
    """Announce the job's next shards until so many wait."""
    shards = services.ledger.admit(job, places, services.settings.hint_seconds)
    services.queue.announce(job, out, shards)
    return shards


def reap(services: Services, job: str, out: str, places: int) -> list[int]:
    """Announce again the shards that a worker lost or gave back, and unheard announcements while fewer are queued.

    An announcement that merely waits its turn behind others is not lost: repeating it would only lengthen the queue.
    """
    settings, ledger = services.settings, services.ledger
    queued = ledger.queue_length(settings.queue)
    shards = ledger.reap(job, MAX_REAPED, settings.hint_seconds, places - queued, queued)
    services.queue.announce(job, out, shards)
    return shards


def tend_job(services: Services, job: str) -> None:
    """Reap and top up one job, or settle it if it is cancelled; close it once nothing is left to do."""
    progress = services.ledger.progress(job)
    if progress.cancelled and not progress.finished:
        settle(services, progress)
        progress = services.ledger.progress(job)
    if progress.finished:
        close_job(services, job)
        return
    places = window(services)
    reap(services, job, progress.out, places)
    top_up(services, job, progress.out, places)


def tend(services: Services) -> None:
    """Tend every open job, oldest first; what goes wrong with one job is logged and leaves the others alone."""
    for job in services.ledger.open_jobs():
        try:
            tend_job(services, job)
        except MaskmillError as error:
            log.warning("job_not_tended", job=job, code=error.code, reason=str(error))
