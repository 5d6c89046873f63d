"""One image of a job: its segments, and its mask when that is looked at; or why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Any

from maskmill.addresses import Address, on_one_line
from maskmill.errors import ObjectNotFound
from maskmill.masks.segment_map import Mask, SegmentMap, pipeline_output
from maskmill.masks.stored import read_mask
from maskmill.schema import Outcome, Reference, Segment
from maskmill.storage.store import Store

SHOWN = 8
"""Labels in a `repr`."""


@dataclass(frozen=True, repr=False)
class Result:
    """One image: `input` is the number of the input that it is of, where a Python program gave several.

    `png` is the mask's file where it was fetched already.
    """

    outcome: Outcome
    store: Store
    input: int | None = None
    png: bytes | None = None

    @classmethod
    def of(cls, outcome: Outcome, reference: Reference | None, store: Store) -> Result:
        """The result of this outcome, and the input that its reference names."""
        return cls(outcome, store, reference.input if reference else None)

    @property
    def uri(self) -> Address:
        """Where the image is, without passwords and signatures, unless one asks: `result.uri.reveal()`."""
        return self.outcome.uri

    @property
    def failed(self) -> bool:
        """Whether there is no mask: `result.code` and `result.reason` say why."""
        return not self.outcome.has_mask

    @property
    def code(self) -> str | None:
        """Why the image failed, in a word that stays: `not_found`; None if it did not."""
        return self.outcome.code

    @property
    def reason(self) -> str | None:
        """Why the image failed, for people; None if it did not."""
        return self.outcome.reason

    @property
    def mask_key(self) -> str:
        """The mask's key below the job's output prefix; raises `ObjectNotFound` for an image that failed."""
        if self.outcome.mask_key is None:
            raise ObjectNotFound(f"{self.uri} has no mask: {self.outcome.reason}")
        return self.outcome.mask_key

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, in the pipeline's order: `result.segments[0].label`."""
        return self.outcome.segments or ()

    @cached_property
    def _mask(self) -> Mask:
        return read_mask(self.png or self.store.get(self.mask_key), self.outcome)

    @property
    def segment_map(self) -> SegmentMap:
        """H × W, pixel = segment id, 0 = no segment; uint8 or uint16. Fetched once.

        `(result.segment_map == result.segments[0].id).sum()` is the first segment's area.
        """
        return self._mask.ids

    def as_pipeline_output(self) -> list[dict[str, Any]]:
        """What the stock pipeline returns for this image: a list of `score`, `label`, `mask` (PIL, mode L).

        `result.as_pipeline_output()[0]["mask"].save("first.png")`
        """
        return pipeline_output(self.segment_map, self.segments)

    def fetched(self) -> Result:
        """The same with its mask, so that it needs the store no more."""
        return self if self.failed else replace(self, png=self.store.get(self.mask_key))

    def __repr__(self) -> str:
        return f"Result({str(self.uri)!r}, {self._in_words()})"

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><td>{each.id}</td><td>{escape(each.title)}</td>"
            f"<td>{'' if each.score is None else f'{each.score:.3f}'}</td><td>{each.area:,}</td></tr>"
            for each in self.segments
        )
        head = "<tr><th>id</th><th>label</th><th>score</th><th>area</th></tr>"
        table = f"<table>{head}{''.join(rows)}</table>" if self.segments else ""
        return f"<div><code>{escape(self.uri)}</code>: {escape(self._in_words())}{table}</div>"

    def _in_words(self) -> str:
        """`3 segments: cat, cat, sofa`, or `failed: not_found`."""
        if self.failed:
            return f"{self.outcome.status.value}: {self.code}" if self.code else self.outcome.status.value
        labels = [on_one_line(each.title) for each in self.segments]
        more = ", …" if len(labels) > SHOWN else ""
        words = f"{len(labels)} segment{'' if len(labels) == 1 else 's'}"
        return f"{words}: {', '.join(labels[:SHOWN])}{more}" if labels else words
