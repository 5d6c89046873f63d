"""A job's account, checked object by object against what was submitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from maskmill import Job
from maskmill.addresses import without_query
from maskmill.masks.segment_map import decode
from maskmill.schema import Outcome, Status
from tests.chaos.form import Row


@dataclass(frozen=True)
class Account:
    """Images by what became of them; `lost` have no outcome, or one whose mask is not there and right."""

    submitted: int
    stored: int
    failed: int
    lost: int
    duplicated: int

    def row(self, fault: str, times: int, slowest_recovery_seconds: float | None = None) -> Row:
        """For the table."""
        slowest = None if slowest_recovery_seconds is None else round(slowest_recovery_seconds, 1)
        return Row(fault=fault, times=times, slowest_recovery_seconds=slowest, **vars(self))


def check_account(job: Job, uris: Sequence[str]) -> Account:
    """Every image exactly one outcome, every mask whole and of its image, the manifest equal to their sum."""
    outcomes = list(job.outcomes())
    seen = Counter(outcome.uri for outcome in outcomes)
    stored = [outcome for outcome in outcomes if outcome.status in (Status.STORED, Status.REUSED)]
    masks = {outcome.mask_key for outcome in stored}
    manifest = job.manifest()
    assert manifest is not None
    assert manifest.counts.total == manifest.submitted == len(uris)
    assert manifest.counts.stored + manifest.counts.reused == len(stored)
    assert len(masks) == len(stored), "two images share a mask"
    strangers = {item.key for item in job.store.list("masks/")} - masks
    wrong = sum(not _is_right(job, outcome) for outcome in stored)
    return Account(
        submitted=len(uris),
        stored=len(stored),
        failed=sum(outcome.status is Status.FAILED for outcome in outcomes),
        lost=sum(seen[uri] == 0 for uri in uris) + wrong,
        duplicated=sum(number - 1 for number in seen.values()) + len(strangers),
    )


def _is_right(job: Job, outcome: Outcome) -> bool:
    ids, header = decode(job.store.get(outcome.mask_key or ""))
    size, segments = (outcome.height, outcome.width), outcome.segments
    return (ids.shape, header.segments, header.uri) == (size, segments, without_query(outcome.uri))
