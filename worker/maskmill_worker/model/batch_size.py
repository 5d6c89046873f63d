"""How many images share a forward pass: as asked, or found while the job runs; never again what ran out of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from threading import Lock

LARGEST = 64
WORTH_DOUBLING = 1.05
"""A doubled batch stays when it brings at least so many times the throughput."""

SAMPLES = 3
"""Full batches of a size that are timed before the next is tried."""

LIGHT_ELEMENTS = 2**21
"""Numbers in a batch's tensors (8 MiB of float32) up to which a second batch at the same time is small in memory."""


@dataclass
class BatchSize:
    """Batch sizes by image size. `asked` is the number of images, None to find one.

    What fits is counted in elements (numbers in an image's tensors), because images of a job differ in size. Found
    sizes double from 1 while that brings throughput. Threads may share one.

    >>> BatchSize(4).of(3 * 240 * 320, passes=2), BatchSize(4).of(3 * 800 * 1200, passes=2)
    (4, 2)
    """

    asked: int | None
    _images: int = 1
    _settled: bool = False
    _max_elements: float = float("inf")
    _rates: list[float] = field(default_factory=list)
    _rate_before: float = 0.0
    _lock: Lock = field(default_factory=Lock, compare=False)

    def of(self, elements: int, passes: int = 1) -> int:
        """Images of so many elements each that share a forward pass, of so many at a time.

        A light batch a pass takes whole. A heavy one that was asked for is shared out: memory stays that of one.
        """
        wanted = self.asked or self._images
        if self.asked and self.asked * elements > LIGHT_ELEMENTS:
            wanted = math.ceil(self.asked / passes)
        return max(1, int(min(wanted, self._max_elements / max(1, elements))))

    def too_large(self, images: int, elements: int) -> None:
        """A batch ran out of memory: half of it is the most from now on."""
        with self._lock:
            self._max_elements = min(self._max_elements, images * elements / 2)
            self._settled = True

    def took(self, images: int, elements: int, seconds: float) -> None:
        """A batch was run in so many seconds."""
        with self._lock:
            if self.asked or self._settled or images < self._images:
                return
            self._rates.append(images * elements / seconds)
            if len(self._rates) == SAMPLES:
                self._judge(max(self._rates))
                self._rates.clear()

    def _judge(self, rate: float) -> None:
        if rate < self._rate_before * WORTH_DOUBLING:
            self._images //= 2
            self._settled = True
        elif self._images >= LARGEST:
            self._settled = True
        else:
            self._rate_before = rate
            self._images *= 2
