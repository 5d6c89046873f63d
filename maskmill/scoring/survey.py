"""What a job has, before its first mask is read: its images by number, and the names of its segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from maskmill.dataset.images import THREADS, Dataset, ShardPlace
from maskmill.schema import Outcome
from maskmill.scoring.pairs import Listed
from maskmill.storage.ahead import map_ahead


@dataclass
class Survey:
    """A job's labels, and where its shards begin: both complete once all outcomes were gone through."""

    dataset: Dataset
    labels: set[str] = field(default_factory=set)
    places: list[ShardPlace] = field(default_factory=list)

    def outcomes(self) -> Iterator[Sequence[Outcome]]:
        """Those of each shard, failed ones too; reports are read ahead."""
        source, number = self.dataset.source, 0
        self.labels |= set(source.labels.values())
        for shard, outcomes in enumerate(map_ahead(source.outcomes, range(source.shards), THREADS)):
            self.labels |= {segment.title for each in outcomes for segment in each.segments or ()}
            self.places.append(ShardPlace(shard, number))
            number += len(outcomes)
            yield outcomes

    def images(self) -> Iterator[Listed]:
        """All images, in order."""
        for outcomes in self.outcomes():
            first = self.places[-1].first_image
            for number, outcome in enumerate(outcomes, first):
                yield Listed(number, str(outcome.uri), outcome.mask_key)

    def names(self) -> list[str]:
        """What segments are called, or could be, after selection; raises `UsageError` for labels that there are not."""
        selection, spec = self.dataset.selection, self.dataset.source.record.spec
        selection.check(sorted(self.labels), spec.subtask)
        return sorted({name for label in self.labels if (name := selection.name_of(label)) is not None})
