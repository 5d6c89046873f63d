"""How fast a job goes, for every bar and line that says so."""

from __future__ import annotations

from collections import deque

RATE_SECONDS = 30.0
"""A rate is that of so long."""

FIRST_SECONDS = 1.0
"""A shorter time says nothing: the images of one batch are finished at once."""


class Pace:
    """Images a second of late, since the first ones: before these the model was loaded; 0 while that is not known.

    Example: see(0, 0), see(9, 4), see(11, 14) gives rate 5.0 and seconds_left(20) 4.0.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._before: int | None = None

    def see(self, seconds: float, done: int) -> None:
        """So many are done by now."""
        if self._before is None:
            self._before = done
        if done <= self._before:
            self._seen.clear()
            return
        self._seen.append((seconds, done))
        while len(self._seen) > 2 and self._seen[1][0] <= seconds - RATE_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Images a second."""
        if not self._seen:
            return 0.0
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return max(0, done - before) / (now - since) if now >= since + FIRST_SECONDS else 0.0

    def seconds_left(self, images: int) -> float | None:
        """For so many images; None while the rate is not known."""
        return images / self.rate if self.rate else None
