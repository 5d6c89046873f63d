"""Loader processes: each task to the one that has fewest, each dead one replaced, each image that ends two failed."""

from __future__ import annotations

import gc
import queue
from collections import Counter
from functools import partial
from threading import Semaphore

import structlog

from maskmill.errors import DeviceLost, ImageCrashed, ImageError, ImageOverdue, LoaderDied, ShardError
from maskmill.settings import Settings
from maskmill_worker.loading.child import PREFETCH, Limits
from maskmill_worker.loading.process import LoaderProcess, Parcel
from maskmill_worker.loading.reader import Reader
from maskmill_worker.model.sample import Key, Sample, Task

MAX_CRASHES = 2
"""Processes that an image may end: the kernel may have ended the first for the memory that others took."""

log = structlog.get_logger(__name__)


class LoaderPool:
    """The loader processes of one segmenter. After an error it can only be closed."""

    def __init__(self, reader: Reader, settings: Settings, fetch_threads: int) -> None:
        self._pin_memory = reader.pin_memory
        self._limits = Limits(settings.image_timeout_seconds, settings.loader_memory_bytes)
        self._received: queue.SimpleQueue[tuple[LoaderProcess, Parcel | None]] = queue.SimpleQueue()
        self._places = Semaphore(PREFETCH)  # samples received and not yet taken, over all processes
        self._start = partial(LoaderProcess, reader, fetch_threads, self._limits, self._deliver)
        self._crashes: Counter[Key] = Counter()
        self._unexplained = 0
        self._processes: list[LoaderProcess] = []
        try:
            for _ in range(settings.loader_processes):
                self._processes.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def outstanding(self) -> int:
        """Tasks whose samples have not been taken."""
        return sum(len(process.tasks) for process in self._processes)

    def put(self, task: Task) -> None:
        """Hand a task to the process that has the fewest."""
        min(self._processes, key=lambda process: len(process.tasks)).put(task)

    def next(self) -> Sample:
        """The next sample, in the order in which they are ready; raises `ShardError` for what is no image's fault."""
        while True:
            process, received = self._received.get()
            if received is None:
                if failed := self._replace(process):
                    return failed
                continue
            self._places.release()
            key, result = received
            del process.tasks[key], self._crashes[key]
            self._unexplained = 0
            if isinstance(result, ShardError):
                raise result
            return result

    def close(self) -> None:
        """End the processes; what they have in flight, or nobody has asked for, is lost."""
        for process in self._processes:
            process.shut()
        self._places.release(max(1, len(self._processes)))
        for process in self._processes:
            process.join()
        gc.unfreeze()

    def _deliver(self, process: LoaderProcess, received: Parcel | None) -> None:
        """Runs in the thread of the process, and waits while enough samples are ready."""
        if received is not None:
            self._places.acquire()
            key, result = received
            if self._pin_memory and isinstance(result, Sample):
                received = key, _pinned(result)
        self._received.put((process, received))

    def _replace(self, dead: LoaderProcess) -> Sample | None:
        """A new process for what a dead one had in flight; the sample of its image if that is not tried again."""
        guilty = dead.tasks.get(dead.in_flight.key or (-1, -1))
        log.warning("loader_died", images=[guilty.reference.uri] if guilty else [])
        failed = None
        if guilty is None:
            self._blame_nobody()
        elif failed := self._blame(guilty, overdue=dead.overdue):
            del dead.tasks[guilty.key]
        self._processes[self._processes.index(dead)] = self._start()
        for task in dead.tasks.values():
            self.put(task)
        return failed

    def _blame(self, task: Task, *, overdue: bool) -> Sample | None:
        self._crashes[task.key] += 1
        error: ImageError
        if overdue:
            seconds = self._limits.image_seconds
            error = ImageOverdue(f"took more than {seconds:g} s to read (MASKMILL_IMAGE_TIMEOUT_SECONDS)")
        elif self._crashes[task.key] >= MAX_CRASHES:
            error = ImageCrashed("ended the process that read it")
        else:
            return None
        del self._crashes[task.key]
        return Sample(task, error=error)

    def _blame_nobody(self) -> None:
        self._unexplained += 1
        if self._unexplained >= MAX_CRASHES * len(self._processes):
            raise LoaderDied(f"loader processes died {self._unexplained} times without an image in flight")


def _pinned(sample: Sample) -> Sample | ShardError:
    """The sample in page-locked memory; that the device is lost is no loader's fault."""
    try:
        return sample.pin_memory()
    except DeviceLost as error:
        return error
