"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 image`, `2 images`, `2,000 images`; `many` where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def rate(images_per_second: float) -> str:
    """`4.4 images/s`, `0.02 images/s`, `1,240 images/s`."""
    digits = 0 if images_per_second >= 1000 else 1 if images_per_second >= 0.1 else 3
    return f"{images_per_second:,.{digits}f} images/s"


def duration(seconds: float) -> str:
    """`0.8 s`, `41 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size:,} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"
