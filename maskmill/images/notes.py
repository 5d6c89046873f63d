"""Warnings about pictures: what was decided where a person might have decided otherwise. Codes are stable."""

from __future__ import annotations

from maskmill.schema import ImageWarning


def first_frame(frames: int, name: str = "frames") -> ImageWarning:
    """Of several pictures of equal rank the first is taken."""
    return ImageWarning(code="first_frame", reason=f"the first of {frames:,} {name}")


def page_chosen(number: int, pages: int, width: int, height: int) -> ImageWarning:
    """Another page than the first, from 0, which is a thumbnail."""
    reason = f"page {number + 1} of {pages}, {width} × {height}: those before it are thumbnails or masks"
    return ImageWarning(code="page_chosen", reason=reason)


def transparent() -> ImageWarning:
    """Something shows through."""
    reason = "transparency is dropped: what it hides is seen, as in the stock pipeline"
    return ImageWarning(code="alpha_dropped", reason=reason)


def bands_dropped(number: int) -> ImageWarning:
    """More bands than the colours."""
    return ImageWarning(code="bands_dropped", reason=f"{number} bands behind red, green and blue are dropped")


def low_contrast(low: float, high: float) -> ImageWarning:
    """The scale does not fit the values."""
    reason = (
        f"nearly all values are one grey when {low:g} is black and {high:g} white: --scale p2-p98, minmax or LOW:HIGH "
        "spreads them"
    )
    return ImageWarning(code="low_contrast", reason=reason)
