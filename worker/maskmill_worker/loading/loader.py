"""References in, tensors or failures out: fetch, decode and preprocess ahead of the model."""

from __future__ import annotations

import math

from maskmill.images.pace import Pace
from maskmill.settings import Settings
from maskmill_worker.loading.child import PREFETCH
from maskmill_worker.loading.inline import InlineReading
from maskmill_worker.loading.pool import LoaderPool
from maskmill_worker.loading.reader import Reader
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmenter


class Loader:
    """The samples of the tasks that are put, in the order in which they are ready.

    >>> while loader.room:
    ...     loader.put(next(tasks))
    >>> sample = loader.next()  # of any of them
    """

    def __init__(
        self, segmenter: Segmenter, settings: Settings, scale: str | None = None, pace: Pace | None = None
    ) -> None:
        processes = max(1, settings.loader_processes)
        fetch_threads = math.ceil(settings.fetch_threads / processes)
        self._capacity = processes * (2 * fetch_threads + PREFETCH)
        reader = Reader(segmenter, settings, scale, pace)
        self._source = (
            LoaderPool(reader, settings, fetch_threads)
            if settings.loader_processes
            else InlineReading(reader, fetch_threads)
        )

    @property
    def room(self) -> bool:
        """Whether another task should be put now."""
        return self.outstanding < self._capacity

    @property
    def outstanding(self) -> int:
        """Tasks that were put and whose samples were not taken yet."""
        return self._source.outstanding

    def put(self, task: Task) -> None:
        """Begin with a task, whose key no other one may have that is outstanding."""
        self._source.put(task)

    def next(self) -> Sample | None:
        """Wait for a sample; None if nothing is outstanding.

        Raises `ShardError` for what is no image's fault; after that the loader can only be closed.
        """
        return self._source.next() if self.outstanding else None

    def close(self) -> None:
        """End the processes; what is outstanding is lost."""
        self._source.close()
