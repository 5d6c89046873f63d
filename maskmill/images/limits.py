"""What reading one image may take."""

from __future__ import annotations

from dataclasses import dataclass

from maskmill.errors import ImageTooLarge


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may take; `timeout_seconds` is for one attempt, from connecting to the last byte."""

    max_bytes: int = 256 * 2**20
    timeout_seconds: float = 30.0
    max_redirects: int = 5
    attempts: int = 3
    backoff_seconds: float = 0.5


def check_size(size: int, max_bytes: int, what: str) -> None:
    """Raise `ImageTooLarge` for more bytes than the limit; `what` is the beginning of its reason: `/a.jpg:`."""
    if size > max_bytes:
        raise ImageTooLarge(f"{what} more than {max_bytes:,} bytes, the worker's limit")
