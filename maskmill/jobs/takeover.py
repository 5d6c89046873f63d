"""Shards of which every mask is there already: decided by whoever has submitted them, without a worker.

The same code tells a worker which masks still hold (`jobs/reuse.py`, `models/files.py`); no torch is needed for that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from maskmill.errors import BrokerUnavailable, MaskmillError
from maskmill.images.fetch import Fetcher
from maskmill.jobs.account import commit_shard
from maskmill.jobs.records import current_round, decide_model, read_job, read_references, read_report
from maskmill.jobs.reuse import StoredMask, stored_masks
from maskmill.models.files import SpecFiles
from maskmill.schema import JobRecord, ModelIdentity, Outcome, Reference, ShardReport, utc_now
from maskmill.services import Services
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store

LOOKS = 8
"""Images that are looked at, or asked about, at a time."""


def take_over(services: Services, out: str, job: str) -> bool:
    """Decide the job's shards for as long as all their masks hold; False at the first that a worker has to look at.

    For a job that no worker of another submitter can have begun: nothing is claimed. An image that cannot be read, has
    changed or has no mask is a worker's affair. Raises `ModelUnavailable`, `StoreUnavailable` or `BrokerUnavailable`.
    """
    store = services.store(out)
    record = read_job(store, job)
    if record.execution.overwrite or current_round(store, job):
        return False
    identity, decided = SpecFiles.find(record.spec).identity(), False
    fingerprint, fetcher = record.spec.fingerprint(identity), _fetcher(services, record)
    for shard in range(record.shards):
        if read_report(store, job, shard) is not None:
            continue
        references = read_references(store, job, shard)
        masks = stored_masks(store, references, record, fingerprint)
        outcomes = list(_while_they_hold(references, masks, record, fetcher))
        decided = decided or (len(outcomes) == len(references) and _decide(services, store, job, identity))
        if not decided or len(outcomes) < len(references):
            return False
        commit_shard(services, out, _report(job, shard, outcomes))
    return True


def _decide(services: Services, store: Store, job: str, identity: ModelIdentity) -> bool:
    """Whether the job's model is made of these files, which it is from now on if nobody has decided that before."""
    if decide_model(store, job, identity) != identity:
        return False
    with suppress(BrokerUnavailable):  # only `status` would lack it
        services.ledger.made_of(job, identity.files)
    return True


def _while_they_hold(
    references: Sequence[Reference], masks: Iterator[StoredMask | None], record: JobRecord, fetcher: Fetcher
) -> Iterator[Outcome]:
    """The outcomes of the images up to the first whose mask is not there, or of another version of the image."""

    def known(pair: tuple[Reference, StoredMask | None]) -> Outcome | None:
        reference, mask = pair
        if mask is None or not _unchanged(fetcher, reference, mask):
            return None
        return mask.outcome(reference, record.job)

    for outcome in map_ahead(known, zip(references, masks, strict=True), LOOKS):
        if outcome is None:
            return
        yield outcome


def _unchanged(fetcher: Fetcher, reference: Reference, mask: StoredMask) -> bool:
    if reference.problem:
        return False
    try:
        return fetcher.download(reference.uri, mask.image_version).data is None
    except MaskmillError:  # said by the worker, as the image's outcome
        return False


def _fetcher(services: Services, record: JobRecord) -> Fetcher:
    own, asked = services.settings, record.execution
    seconds = asked.timeout or own.fetch_timeout_seconds
    anonymous = own.anonymous or bool(asked.anonymous)
    return Fetcher.of(own.model_copy(update={"fetch_timeout_seconds": seconds, "anonymous": anonymous}))


def _report(job: str, shard: int, outcomes: Sequence[Outcome]) -> ShardReport:
    return ShardReport(
        job=job,
        shard=shard,
        attempt=1,
        worker=f"{socket.gethostname()}:{os.getpid()}:submitter",
        finished=utc_now(),
        outcomes=tuple(outcomes),
    )
