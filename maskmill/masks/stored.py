"""Whose mask an object or a file is: told from its PNG header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from maskmill.errors import InvalidRecord, MaskReplaced
from maskmill.masks.segment_map import Mask, MaskHeader, decode
from maskmill.schema import Outcome, Segment


def is_mask_of(header: MaskHeader, outcome: Outcome) -> bool:
    """Whether the mask with this header is the one that the outcome accounts for.

    Image, spec and segments must agree. A later job that made the same image's mask with another threshold,
    or from a changed file, has put another mask under the same key. The account in a folder has labels as texts.
    """
    if (header.uri, header.fingerprint) != (outcome.uri, outcome.fingerprint):
        return False
    segments = outcome.segments or ()
    return header.segments == segments or _as_texts(header.segments) == _as_texts(segments)


def _as_texts(segments: Iterable[Segment]) -> list[Segment]:
    return [replace(segment, label=segment.title) for segment in segments]


def read_mask(png: bytes, outcome: Outcome) -> Mask:
    """The outcome's mask from its file; raises `InvalidRecord` for any other bytes, and `MaskReplaced`."""
    try:
        mask = decode(png)
    except InvalidRecord as error:
        raise InvalidRecord(f"{outcome.mask_key} cannot be read: {error}", error.record) from error
    check_mask_of(mask.header, outcome)
    return mask


def check_mask_of(header: MaskHeader, outcome: Outcome) -> None:
    """Raise `MaskReplaced` unless the mask is the outcome's."""
    if not is_mask_of(header, outcome):
        raise MaskReplaced(
            f"{outcome.mask_key} is another job's mask by now: give each tree and spec an --out of its own"
        )
