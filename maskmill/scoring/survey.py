"""What a job has, before its first mask is read: its images by number, and the names of its segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from maskmill.dataset.images import Dataset, ShardPlace
from maskmill.scoring.pairs import Listed


@dataclass(frozen=True)
class ShardListing:
    """A shard's images, numbered from 0, and the names of its segments."""

    images: list[Listed]
    labels: set[str]


def list_shard(dataset: Dataset, shard: int, *, outcomes: bool = False) -> ShardListing:
    """Read the shard's report, in one of the processes; failed images are listed, too."""
    found = dataset.source.outcomes(shard)
    images = [
        Listed(number, str(each.uri), each.mask_key, each.to_json().decode() if outcomes and each.has_mask else None)
        for number, each in enumerate(found)
    ]
    return ShardListing(images, {segment.title for each in found for segment in each.segments or ()})


@dataclass
class Survey:
    """A job's labels, and where its shards begin: both complete once all images were gone through."""

    dataset: Dataset
    shards: Iterable[ShardListing]
    labels: set[str] = field(default_factory=set)
    places: list[ShardPlace] = field(default_factory=list)

    def in_shards(self) -> Iterator[list[Listed]]:
        """All images, in order."""
        self.labels |= set(self.dataset.source.labels.values())
        first = 0
        for shard, listing in enumerate(self.shards):
            self.labels |= listing.labels
            self.places.append(ShardPlace(shard, first))
            yield [each._replace(number=first + each.number) for each in listing.images]
            first += len(listing.images)

    def images(self) -> Iterator[Listed]:
        """The same one by one."""
        return chain.from_iterable(self.in_shards())

    def names(self) -> list[str]:
        """What segments are called, or could be, after selection; raises `UsageError` for labels that there are not."""
        selection, spec = self.dataset.selection, self.dataset.source.record.spec
        selection.check(sorted(self.labels), spec.subtask)
        return sorted({name for label in self.labels if (name := selection.name_of(label)) is not None})
