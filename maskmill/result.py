"""One segmented image of a job: its segments, and its mask when that is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maskmill.addresses import Address
from maskmill.errors import ObjectNotFound
from maskmill.masks.segment_map import MaskHeader, SegmentMap, decode, pipeline_output
from maskmill.masks.stored import check_mask_of
from maskmill.schema import Outcome, Segment
from maskmill.storage.store import Store


@dataclass(frozen=True)
class Result:
    """One segmented image."""

    outcome: Outcome
    store: Store

    @property
    def uri(self) -> Address:
        """Where the image is, without passwords and signatures, unless one asks: `result.uri.reveal()`."""
        return self.outcome.uri

    @property
    def mask_key(self) -> str:
        """The mask's key below the job's output prefix."""
        if self.outcome.mask_key is None:
            raise ObjectNotFound(f"{self.uri} has no mask: {self.outcome.reason}")
        return self.outcome.mask_key

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, in the pipeline's order: `result.segments[0].label`."""
        return self.outcome.segments or ()

    @cached_property
    def _mask(self) -> tuple[SegmentMap, MaskHeader]:
        ids, header = decode(self.store.get(self.mask_key))
        check_mask_of(header, self.outcome)
        return ids, header

    @property
    def segment_map(self) -> SegmentMap:
        """H × W, pixel = segment id, 0 = no segment; uint8 or uint16. Fetched once.

        `(result.segment_map == result.segments[0].id).sum()` is the first segment's area.
        """
        return self._mask[0]

    def as_pipeline_output(self) -> list[dict[str, Any]]:
        """What the stock pipeline returns for this image: a list of `score`, `label`, `mask` (PIL, mode L).

        `result.as_pipeline_output()[0]["mask"].save("first.png")`
        """
        return pipeline_output(self.segment_map, self.segments)
