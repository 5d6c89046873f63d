"""Masks that are there already: found before their images are fetched, so that only what has changed is made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from maskmill.ahead import map_ahead
from maskmill.errors import InvalidRecord, ObjectNotFound
from maskmill.keys import without_query
from maskmill.schema import JobRecord, Outcome, Reference, Status
from maskmill.segment_map import MaskHeader, decode
from maskmill.store import Store

LISTED_PER_IMAGE = 4
"""Where other masks lie between those of a shard, so many are looked at for each of its images; the rest is asked
for one by one."""

READERS = 8


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

    def outcome(self, reference: Reference, job: str) -> Outcome:
        """What the image's outcome is if it has not changed: stored, if by an earlier attempt of this very job."""
        return Outcome(
            uri=reference.uri,
            status=Status.STORED if self.header.job == job else Status.REUSED,
            mask_key=reference.mask_key,
            fingerprint=self.header.fingerprint,
            width=self.width,
            height=self.height,
            segments=self.header.segments,
        )


def stored_masks(store: Store, references: Sequence[Reference], record: JobRecord) -> Iterator[StoredMask | None]:
    """For each reference its mask, if there is one that the job may keep; read ahead, in order."""
    if not references:
        return iter(())
    there = _present(store, sorted(reference.mask_key for reference in references))
    fingerprint = record.spec.fingerprint()

    def find(reference: Reference) -> StoredMask | None:
        mask = _read(store, reference, fingerprint) if there(reference.mask_key) else None
        return mask if mask and (not record.execution.overwrite or mask.header.job == record.job) else None

    return map_ahead(find, references, READERS)


def _present(store: Store, wanted: Sequence[str]) -> Callable[[str], bool]:
    """Whether a key may be in the store: known for those that the listing reached."""
    first, last, limit = wanted[0], wanted[-1], LISTED_PER_IMAGE * len(wanted)
    found, reached = set(), ""
    for item in islice(store.list("masks/", after=first[:-1]), limit + 1):
        found.add(item.key)
        reached = item.key
        if reached >= last:
            break
    complete = reached >= last or len(found) <= limit
    return lambda key: key in found or (not complete and key > reached)


def _read(store: Store, reference: Reference, fingerprint: str) -> StoredMask | None:
    """The mask under the reference's key; None for anything else, such as another tree's or half a file."""
    try:
        ids, header = decode(store.get(reference.mask_key))
    except (InvalidRecord, ObjectNotFound):
        return None
    right = (without_query(reference.uri), fingerprint) == (header.uri, header.fingerprint)
    return StoredMask(header, ids.shape[1], ids.shape[0]) if right and header.image_version else None
