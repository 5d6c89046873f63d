"""Masks that are there already: found before their images are fetched, so that only what has changed is made anew.

And once more when a mask is put: whoever comes second keeps the first one, and accounts for that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from maskmill.errors import InvalidRecord, ObjectNotFound, StoreUnavailable
from maskmill.masks.segment_map import CONTENT_TYPE, MaskHeader, decode
from maskmill.schema import JobRecord, Outcome, Reference, Status
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store, StoredObject

LISTED_PER_IMAGE = 4
"""Where other masks lie between those of a shard, so many are looked at for each of its images; the rest is asked
for one by one."""

READERS = 8

MAX_TURNS = 20
"""How often a mask may be found to have come, or gone, since it was looked at."""


@dataclass(frozen=True)
class StoredMask:
    """A mask of ours, whole and of the right spec and image; `image_version` says of which state of the image."""

    header: MaskHeader
    width: int
    height: int

    @property
    def image_version(self) -> str:
        """The version of the image's file that was segmented."""
        return self.header.image_version or ""

    def is_of(self, record: JobRecord) -> bool:
        """Whether this very job has made it."""
        return self.header.job == record.job

    def outcome(self, reference: Reference, job: str, seconds: dict[str, float] | None = None) -> Outcome:
        """The image's outcome: stored, if by this very job, else reused; `seconds` are wall times by stage."""
        return Outcome(
            uri=reference.uri,
            status=Status.STORED if self.header.job == job else Status.REUSED,
            mask_key=reference.mask_key,
            fingerprint=self.header.fingerprint,
            width=self.width,
            height=self.height,
            segments=self.header.segments,
            scale=self.header.scale,
            warnings=self.header.warnings,
            seconds=seconds,
        )


@dataclass(frozen=True)
class Found:
    """What is in the store for an image: a mask that the job may keep, or the ETag of what the job's own replaces."""

    mask: StoredMask | None = None
    replaced: str | None = None


def stored_masks(
    store: Store, references: Sequence[Reference], record: JobRecord, fingerprint: str
) -> Iterator[StoredMask | None]:
    """For each reference its mask, if there is one that the job may keep; read ahead, in order.

    The fingerprint is that of the job's spec with its model's files.
    """
    return (found.mask for found in find_masks(store, references, record, fingerprint))


def find_masks(
    store: Store, references: Sequence[Reference], record: JobRecord, fingerprint: str, *, none_stays: bool = False
) -> Iterator[Found]:
    """The same with what else is there; where no mask may stay, none is read, and what is older than the job may go."""
    if not references:
        return iter(())
    listed = _listed(store, sorted(reference.mask_key for reference in references))
    if none_stays:
        job = next(store.list(keys.job_record(record.job), at_once=1), None)
        return (Found(replaced=_tag_if_older(listed(each.mask_key)[1], job)) for each in references)

    def find(reference: Reference) -> Found:
        may_be_there, _ = listed(reference.mask_key)
        if not may_be_there:
            return Found()
        mask, entity_tag = _read(store, reference, fingerprint)
        if mask and mask.image_version and _may_stay(mask, record):
            return Found(mask)
        return Found(replaced=None if mask and mask.is_of(record) else entity_tag)

    return map_ahead(find, references, READERS)


def put_mask(
    store: Store, reference: Reference, record: JobRecord, png: bytes, mask: StoredMask, replaced: str | None = None
) -> StoredMask:
    """Store the image's mask, with its PNG, unless there is one that the job may keep by now; that which is there then.

    `replaced` is the ETag of what may be replaced unseen. A worker that slept through its lease comes too late: what
    another has stored and accounted for stays as it is. So does what this very job has stored of an image whose file
    has changed since: it may be accounted for.
    """
    if replaced and store.replace(reference.mask_key, png, CONTENT_TYPE, replaced):
        return mask
    for _ in range(MAX_TURNS):
        if store.put_if_absent(reference.mask_key, png, CONTENT_TYPE):
            return mask
        there, entity_tag = _read(store, reference, mask.header.fingerprint)
        if there and _may_stay(there, record) and (there.is_of(record) or there.image_version == mask.image_version):
            return there
        if entity_tag and store.replace(reference.mask_key, png, CONTENT_TYPE, entity_tag):
            return mask
    raise StoreUnavailable(f"{store.url}/{reference.mask_key}: can neither be put as new nor be replaced")


def _may_stay(mask: StoredMask, record: JobRecord) -> bool:
    return mask.is_of(record) or not record.execution.overwrite


def _listed(store: Store, wanted: Sequence[str]) -> Callable[[str], tuple[bool, StoredObject | None]]:
    """Whether a key may be in the store, known for those that the listing reached; and what is known to be there."""
    first, last, limit = wanted[0], wanted[-1], LISTED_PER_IMAGE * len(wanted)
    found, reached = {}, ""
    for item in islice(store.list("masks/", first[:-1], limit + 1), limit + 1):
        found[item.key] = item
        reached = item.key
        if reached >= last:
            break
    complete = reached >= last or len(found) <= limit
    return lambda key: (key in found or (not complete and key > reached), found.get(key))


def _tag_if_older(mask: StoredObject | None, job: StoredObject | None) -> str | None:
    """The ETag of what was there before the job's record, by the store's clock: no mask of the job itself."""
    return mask.entity_tag if mask and job and mask.modified < job.modified else None


def _read(store: Store, reference: Reference, fingerprint: str) -> tuple[StoredMask | None, str | None]:
    """The mask under the key, None for anything else (another tree's, half a file); and the ETag of what is there."""
    try:
        there = store.download(reference.mask_key, max_bytes=sys.maxsize)
    except ObjectNotFound:
        return None, None
    try:
        ids, header = decode(there.data or b"")
    except InvalidRecord:
        return None, there.version
    right = (reference.uri, fingerprint) == (header.uri, header.fingerprint)
    return StoredMask(header, ids.shape[1], ids.shape[0]) if right else None, there.version
