"""Where a report has its images from: a job in its store, or a folder of results (`maskmill_producer.local.page`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from PIL import Image

from maskmill.addresses import Address
from maskmill.jobs.outcomes import revealed
from maskmill.masks.segment_map import Mask
from maskmill.schema import JobRecord, Manifest, Outcome, Reference, ShardReport


class Numbered(NamedTuple):
    """An image that has a mask: its place in the order of submission, from 0, and what became of it."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Part:
    """Images in order: those of a shard with their references and the report, or lines of a file without either."""

    outcomes: Sequence[Outcome]
    references: Sequence[Reference] = ()
    report: ShardReport | None = None

    def whole(self, place: int) -> Outcome:
        """One outcome with its whole address, by which the image can be fetched."""
        return revealed(self.outcomes[place], self.references[place] if self.references else None)


class Source(Protocol):
    """A job that has ended."""

    record: JobRecord
    manifest: Manifest
    command: tuple[str, str]
    """What was run and where its results are: `("run", "out")`, `("submit", "s3://labels/2026")`."""

    def parts(self) -> Iterator[Part]:
        """All images, in the order of submission."""

    def name_of(self, uri: Address) -> str:
        """How an image is called for people."""

    def mask(self, outcome: Outcome) -> Mask:
        """The image's mask; raises a `MaskmillError` when it is not there, or another's by now."""

    def image(self, outcome: Outcome, mask: Mask) -> Image.Image:
        """The image that the mask is of; raises a `MaskmillError` when it cannot be read, or is another by now."""
