"""Whole addresses for outcomes, whose own are shown without secrets: a job's shards alone have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from maskmill.jobs.account import read_references
from maskmill.schema import Outcome, Reference
from maskmill.storage.store import Store


def reveal_report(store: Store, job: str, shard: int, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """The outcomes of a shard's report, which are in the order of its references."""
    for outcome, reference in zip(outcomes, read_references(store, job, shard), strict=False):
        yield _of(outcome, reference)


def reveal_metadata(store: Store, job: str, shard: int, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """The outcomes of a shard's metadata, each of which has its reference's mask key."""
    references = {reference.mask_key: reference for reference in read_references(store, job, shard)}
    for outcome in outcomes:
        yield _of(outcome, references[outcome.mask_key]) if outcome.mask_key in references else outcome


def _of(outcome: Outcome, reference: Reference) -> Outcome:
    return outcome.model_copy(update={"uri": reference.uri})
