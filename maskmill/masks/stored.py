"""Whose mask an object or a file is: told from its PNG header, without decoding a pixel."""

from __future__ import annotations

import io

from PIL import Image

from maskmill.errors import InvalidRecord, MaskReplaced, one_line
from maskmill.masks.segment_map import TEXT_KEY, MaskHeader
from maskmill.schema import Outcome


def read_header(png: bytes) -> MaskHeader:
    """The header of a whole mask; raises `InvalidRecord` for any other bytes.

    Each chunk's checksum is verified, so a file that was cut off or damaged is no mask.
    """
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            text = image.info.get(TEXT_KEY)
            image.verify()
    except Exception as error:  # what Pillow raises for broken files is no closed set
        raise InvalidRecord(f"not a whole PNG: {one_line(error)}", "") from error
    if text is None:
        raise InvalidRecord("a PNG without the maskmill text is not a mask of ours", "")
    return MaskHeader.from_json(text)


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
