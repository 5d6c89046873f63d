"""Another job as the truth: what its masks say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

from maskmill.dataset.images import Dataset, LabelledImage
from maskmill.schema import Outcome
from maskmill.scoring.overlaps import Part, Side
from maskmill.scoring.scratch import Scratch, TrueImage
from maskmill.scoring.sides import side
from maskmill.scoring.survey import Survey
from maskmill.scoring.truth.truth import Fetched, Truth


@dataclass(frozen=True)
class JobAsTruth(Truth):
    """The job as a dataset; its labels are the classes, and pixels of no segment are of no class."""

    dataset: Dataset
    kind: ClassVar[str] = "a job"

    def fetch(self, image: TrueImage) -> Fetched:
        """The image's segments; raises what reading its mask does."""
        if not image.parts:
            return lambda: None
        labelled = self.dataset.image(Outcome.from_json(image.parts[0]))
        _ = labelled.png
        return partial(self._decode, labelled)

    def _decode(self, labelled: LabelledImage) -> Side:
        parts = [(segment.id, Part(self._numbers[segment.title])) for segment in labelled.segments]
        return side(labelled.ids, parts, self.classes)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {each.name: number for number, each in enumerate(self.classes)}


def list_job(survey: Survey, scratch: Scratch) -> None:
    """Put the job's images, listed with their outcomes, into the scratch file, by their addresses and mask keys."""
    for images in survey.in_shards():
        scratch.insert(
            "INSERT OR IGNORE INTO truth (key, id, path, last) VALUES (?, ?, ?, ?)",
            ((each.number, each.mask_key or str(each.number), each.mask_key or "", each.uri) for each in images),
        )
        scratch.insert(
            "INSERT INTO part (truth, content) VALUES (?, ?)",
            ((each.number, each.outcome) for each in images if each.outcome),
        )
