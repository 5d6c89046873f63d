"""Reconcile: bring the open jobs on where nobody else does, and wake idle workers for shards that wait.

A worker takes shards until there are none, so only idle ones need to be woken. Who commits a job's last shard closes
the job. What is left falls to whoever is elected, a worker or a watching client: jobs whose last owner died, and
messages that got lost (kombu#305).
"""

from __future__ import annotations

import structlog

from maskmill.errors import MaskmillError
from maskmill.jobs.account import close_job, enter_job
from maskmill.jobs.cancel import close_abandoned, mark_cancelled
from maskmill.services import Services

log = structlog.get_logger(__name__)

MIN_WINDOW = 4
ELECTED_SECONDS = 6.0
"""How long nobody else reconciles after the elected one has; its next turn comes before."""

PASSED_ON_SECONDS = 1.0
"""The same after something went wrong: somebody else may have the rights, or the way to the store, that it takes."""


def reconcile(services: Services, owner: str) -> bool:
    """Reconcile all jobs, or leave it to whoever does (False); what goes wrong with one leaves the others alone."""
    if not services.ledger.elect(owner, ELECTED_SECONDS):
        return False
    for job in services.ledger.closing():
        try:
            reconcile_job(services, job)
        except MaskmillError as error:
            log.warning("job_not_reconciled", job=job, code=error.code, reason=str(error))
            services.ledger.elect(owner, PASSED_ON_SECONDS)
    notify(services)
    return True


def reconcile_job(services: Services, job: str) -> None:
    """Close the job once its shards are booked; one that is cancelled, once those that were begun are closed."""
    progress = services.ledger.progress(job)
    if not (progress.finished or progress.cancelled):
        return
    found = services.ledger.inspect(job)
    if found and not found.complete:  # what the broker lost would be missing in the account
        enter_job(services, progress.out, job)
        progress = services.ledger.progress(job)
    if progress.cancelled:
        mark_cancelled(services, progress)
    if progress.cancelled and not progress.finished:
        close_abandoned(services, progress)
        progress = services.ledger.progress(job)
    if progress.finished:
        close_job(services, job)


def notify(services: Services) -> None:
    """See to it that as many messages wait in the queue as there are shards for idle workers to take."""
    most = services.settings.window or max(MIN_WINDOW, services.ledger.workers())
    waiting = services.ledger.queue_length(services.queue.name)
    if waiting < most:
        services.queue.notify(services.ledger.claimable(most) - waiting)
