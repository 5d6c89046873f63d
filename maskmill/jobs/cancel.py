"""Stopping a job for good: what is stored stays, and every other image is accounted for as cancelled."""

from __future__ import annotations

import secrets

from maskmill.errors import UsageError
from maskmill.jobs.account import commit_shard
from maskmill.jobs.records import current_round, given_up, read_cancellation, read_manifest, read_references
from maskmill.ledger.answers import Progress
from maskmill.ledger.bitmap import is_done
from maskmill.schema import Cancellation, ShardReport, utc_now
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.words import counted

BY_SUBMITTER = "cancelled by its submitter"


def cancel_job(services: Services, job: str, out: str, reason: str = BY_SUBMITTER) -> None:
    """Let nobody begin a shard of the job any more; workers stop within a batch.

    Raises `UsageError` when the job is closed already, or while this is asked.
    """
    store, ended = services.store(out), UsageError(f"job {job} has ended: there is nothing left to cancel")
    retry_round = current_round(store, job)
    if read_manifest(store, job, retry_round):
        raise ended
    marker = Cancellation(job=job, cancelled=utc_now(), reason=reason)
    store.put_if_absent(keys.cancellation(job, retry_round), marker.to_json())
    services.ledger.cancel(job)
    if not read_cancellation(store, job, retry_round):
        raise ended


def mark_cancelled(services: Services, progress: Progress) -> None:
    """Put the marker of a cancelled job that has none: its own failures have stopped it, as the ledger decided."""
    most = ", ".join(f"{number:,} {code}" for code, number in _by_number(progress.failures)[:3])
    reason = f"stopped: {counted(progress.decided.failed, 'image')} failed, more than --max-failures allows ({most})"
    marker = Cancellation(job=progress.job, cancelled=utc_now(), reason=reason)
    services.store(progress.out).put_if_absent(keys.cancellation(progress.job, progress.retry_round), marker.to_json())


def _by_number(failures: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(failures.items(), key=lambda item: -item[1])


def close_abandoned(services: Services, progress: Progress) -> None:
    """Account for the shards of a cancelled job that somebody began and nobody has now.

    Those that nobody began need no report. Where that is not known any more, and in a retry round, all that are open
    get one; in a retry round its images are what they were before.
    """
    ledger, job = services.ledger, progress.job
    owner = f"cancel:{secrets.token_hex(4)}"
    for shard in _open_shards(services, progress):
        claim = ledger.claim_abandoned(job, shard, owner, services.settings.lease_seconds)
        if not claim:
            continue
        store = services.store(progress.out)
        outcomes = given_up(store, job, shard, claim.retry_round, read_references(store, job, shard))
        report = ShardReport(
            job=job,
            shard=shard,
            round=claim.retry_round,
            attempt=claim.attempt,
            worker=owner,
            finished=utc_now(),
            outcomes=tuple(outcomes),
        )
        commit_shard(services, progress.out, report)


def _open_shards(services: Services, progress: Progress) -> list[int]:
    if progress.begun_is_known:
        return services.ledger.begun(progress.job)
    found = services.ledger.inspect(progress.job)
    return [shard for shard in range(progress.shards) if found and not is_done(found.done, shard)]
