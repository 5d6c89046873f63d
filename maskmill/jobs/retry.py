"""Trying failed images once more, under the same job."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.errors import UsageError, check_codes
from maskmill.jobs.records import current_round, read_manifest
from maskmill.jobs.submit import start
from maskmill.schema import JobState, RetryRound, utc_now
from maskmill.services import Services
from maskmill.storage import keys


def retry_job(services: Services, out: str, job: str, codes: Sequence[str] | None = None) -> int:
    """Queue the failed images of these codes (None: all) again; returns how many.

    The marker in the bucket begins the retry round: should this process die, `resume` goes on from there. Raises
    `UsageError` when the job still runs, was cancelled, or has no such failures, and for a code that there is not.
    """
    store = services.store(out)
    last = current_round(store, job)
    manifest = read_manifest(store, job, last)
    if manifest is None:
        raise UsageError(f"job {job} has not ended: wait for it, or continue it with `maskmill resume {job}`")
    if manifest.state is JobState.CANCELLED:
        raise UsageError(f"job {job} was cancelled: submit its sources again, what is stored is not made anew")
    check_codes(codes or (), manifest.failures)
    images = sum(number for code, number in manifest.failures.items() if codes is None or code in codes)
    if not images:
        known = ", ".join(manifest.failures) or "none at all"
        raise UsageError(f"job {job} has no such failures; its codes are: {known}")
    record = RetryRound(job=job, round=last + 1, codes=tuple(codes) if codes is not None else None, created=utc_now())
    key, marker = keys.retry(job, record.round), record.to_json()
    if not store.put_if_absent(key, marker) and store.get(key) != marker:  # its own, if only the answer was lost
        raise UsageError(f"job {job} is being retried by somebody else at this moment")
    start(services, out, job)
    return images
