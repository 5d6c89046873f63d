"""Why nothing happens in a job that runs: one reason, the one to mend first. Pure."""

from __future__ import annotations

from maskmill.errors import BrokerUnavailable, MaskmillError
from maskmill.ledger.answers import Progress, Standing
from maskmill.schema import JobStatus, Waiting, WaitingFor
from maskmill.words import counted

OWN = {
    WaitingFor.WORKER: Waiting(code=WaitingFor.START, reason="the worker starts"),
    WaitingFor.START: Waiting(code=WaitingFor.START, reason="the worker starts"),
    WaitingFor.CLAIM: Waiting(code=WaitingFor.CLAIM, reason="the worker loads its code"),
}
"""What the reasons mean where one worker is started for one job."""


def waiting_for(progress: Progress, standing: Standing) -> Waiting | None:
    """The reason why no image of the job is being finished; None when there is none, or the job is not running.

    >>> waiting_for(progress, standing)  # of a job that nobody has begun, beside a large one
    Waiting(code='workers_busy', reason='all 3 workers are busy with job 20261122-205301-9f86d081')
    """
    if progress.finished or progress.cancelled:
        return None
    if not standing.there:
        return Waiting(code=WaitingFor.WORKER, reason="no worker is there: start one with `maskmill-worker`")
    return _of_shards_in_hand(progress) if standing.leased else _of_nothing_begun(progress, standing)


def away(error: MaskmillError) -> Waiting:
    """The reason while a server cannot be reached from here."""
    code = WaitingFor.BROKER if isinstance(error, BrokerUnavailable) else WaitingFor.STORE
    return Waiting(code=code, reason=str(error))


def of_own_worker(status: JobStatus) -> JobStatus:
    """The status for whoever starts the worker: nobody else is asked to, and it has no other job."""
    if not (status.waiting and status.waiting.code in OWN):
        return status
    return status.model_copy(update={"waiting": OWN[status.waiting.code]})


def _of_shards_in_hand(progress: Progress) -> Waiting | None:
    if progress.in_hand.total:
        return None
    if progress.loading:
        return Waiting(code=WaitingFor.MODEL, reason=f"a worker loads the model {progress.loading}")
    if progress.decided.total:
        return None
    return Waiting(code=WaitingFor.FIRST_IMAGE, reason="a worker has begun, and no image is finished yet")


def _of_nothing_begun(progress: Progress, standing: Standing) -> Waiting:
    if standing.paused and standing.paused + progress.shards_done >= progress.shards:
        return Waiting(code=WaitingFor.PAUSE, reason=_pause(progress, standing))
    if standing.starting == standing.there:
        return Waiting(code=WaitingFor.START, reason=counted(standing.there, "worker starts", "workers start"))
    if standing.busy >= standing.there - standing.starting:
        return Waiting(code=WaitingFor.TURN, reason=_busy(standing))
    if standing.paused:
        return Waiting(code=WaitingFor.PAUSE, reason=_pause(progress, standing))
    they_have = counted(standing.there, "worker is there, and has", "workers are there, and have")
    return Waiting(code=WaitingFor.CLAIM, reason=f"{they_have} not begun yet")


def _pause(progress: Progress, standing: Standing) -> str:
    wait = counted(standing.paused, "shard waits", "shards wait")
    after = f" after {progress.trouble}" if progress.trouble else ""
    return f"{wait} {standing.pause_seconds:.0f} s more{after}"


def _busy(standing: Standing) -> str:
    workers = "the worker is" if standing.busy == 1 else f"all {standing.busy:,} workers are"
    others = f" and {counted(standing.busy_jobs - 1, 'other job')}" if standing.busy_jobs > 1 else ""
    return f"{workers} busy with job {standing.busy_with}{others}"
