"""Fetch, decode and preprocess in DataLoader processes that outlive a shard: references in, tensors or failures out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import structlog

from maskmill.errors import ImageOverdue, LoaderDied
from maskmill.settings import Settings
from maskmill_worker.loading.pool import PREFETCH, Crew
from maskmill_worker.model.sample import Key, Sample, Task
from maskmill_worker.model.segmenter import Segmenter

MAX_CRASHES = 2
"""Processes that an image may end."""

log = structlog.get_logger(__name__)


class Loader:
    """Loader processes for one segmenter, replaced when one dies. `samples` may be called again and again."""

    def __init__(self, segmenter: Segmenter, settings: Settings) -> None:
        readers = max(1, settings.loader_processes)
        threads = math.ceil(settings.fetch_threads / readers)
        self._room = readers * (2 * threads + PREFETCH)
        self._new_crew = partial(Crew, segmenter, settings, threads)
        self._crew = self._new_crew()
        self._outstanding: dict[Key, Task] = {}
        self._crashes: Counter[Key] = Counter()
        self._unexplained = 0

    def samples(self, tasks: Iterable[Task]) -> Iterator[Sample]:
        """A sample for each task, in any order; takes a task only when there is room for it.

        An image that ends its process is tried once more, for the kernel may have ended it for the memory that others
        took; one that takes too long is not. Raises `ShardError` for what is no image's fault.
        """
        source = iter(tasks)
        more = True
        self._crashes.clear()
        while True:
            while more and len(self._outstanding) < self._room:
                task = next(source, None)
                more = task is not None
                if task is not None:
                    self._outstanding[task.key] = task
                    self._crew.put(task)
            if not self._outstanding:
                return
            sample = self._crew.next()
            if sample is None:
                yield from self._after_a_death()
            elif self._outstanding.pop(sample.task.key, None):
                self._unexplained = 0
                yield sample

    def close(self) -> None:
        """End the processes; what they have in hand is lost."""
        self._crew.close()

    def _after_a_death(self) -> Iterator[Sample]:
        """A new crew for what is outstanding, and the samples of the images that are not to be tried again."""
        culprits = {key: error for key, error in self._crew.culprits().items() if key in self._outstanding}
        self._crew.close()
        log.warning("loader_died", images=[self._outstanding[key].reference.uri for key in culprits])
        self._unexplained += not culprits
        if self._unexplained >= MAX_CRASHES:
            raise LoaderDied(f"loader processes died {self._unexplained} times without an image in hand")
        failed = []
        for key, error in culprits.items():
            self._crashes[key] += 1
            if isinstance(error, ImageOverdue) or self._crashes[key] >= MAX_CRASHES:
                failed.append(Sample(self._outstanding.pop(key), error=error))
        self._crew = self._new_crew()
        for task in self._outstanding.values():
            self._crew.put(task)
        yield from failed
