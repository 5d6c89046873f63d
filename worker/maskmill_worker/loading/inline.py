"""Reading images in the worker's own process (`num_workers=0`): fetched in threads, decoded when asked for."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset

from maskmill_worker.loading.fetching import FetchAhead, Tasks
from maskmill_worker.loading.reader import Reader
from maskmill_worker.model.sample import Key, Sample, Task


class InlineReading:
    """As `LoaderPool`, without processes, and hence without limits of time and memory."""

    def __init__(self, reader: Reader, fetch_threads: int) -> None:
        self._tasks: Tasks = queue.SimpleQueue()
        self._outstanding: set[Key] = set()
        self._pin_memory = reader.pin_memory
        stream = _SampleStream(reader, self._tasks, fetch_threads)
        self._samples: Iterator[Sample] = iter(DataLoader(stream, batch_size=None))

    @property
    def outstanding(self) -> int:
        """Tasks whose samples have not been taken."""
        return len(self._outstanding)

    def put(self, task: Task) -> None:
        """Have a task fetched."""
        self._outstanding.add(task.key)
        self._tasks.put(task)

    def next(self) -> Sample:
        """Decode and preprocess the image whose fetch ended first; raises `ShardError` for what is not its fault."""
        sample = next(self._samples)
        self._outstanding.remove(sample.task.key)
        return sample.pin_memory() if self._pin_memory else sample

    def close(self) -> None:
        """End the threads that fetch."""
        self._tasks.put(None)


class _SampleStream(IterableDataset[Sample]):
    def __init__(self, reader: Reader, tasks: Tasks, fetch_threads: int) -> None:
        self.reader = reader
        self.tasks = tasks
        self.fetch_threads = fetch_threads

    def __iter__(self) -> Iterator[Sample]:
        for fetched in FetchAhead(self.reader.fetch, self.tasks, self.fetch_threads):
            yield self.reader.read(fetched)
