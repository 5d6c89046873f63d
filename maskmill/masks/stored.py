"""Whose mask an object or a file is: told from its PNG header."""

from __future__ import annotations

from maskmill.errors import MaskReplaced
from maskmill.masks.segment_map import MaskHeader
from maskmill.schema import Outcome


def is_mask_of(header: MaskHeader, outcome: Outcome) -> bool:
    """Whether the mask with this header is the one that the outcome accounts for.

    Image, spec and segments must agree. A later job that made the same image's mask with another threshold,
    or from a changed file, has put another mask under the same key.
    """
    return (header.uri, header.fingerprint, header.segments) == (
        outcome.uri,
        outcome.fingerprint,
        outcome.segments or (),
    )


def check_mask_of(header: MaskHeader, outcome: Outcome) -> None:
    """Raise `MaskReplaced` unless the mask is the outcome's."""
    if not is_mask_of(header, outcome):
        raise MaskReplaced(
            f"{outcome.mask_key} is another job's mask by now: give each tree and spec an --out of its own"
        )
