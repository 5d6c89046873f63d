"""Fetch, decode and preprocess in DataLoader processes that outlive a shard: references in, tensors or failures out.

Each process fetches ahead in threads, because a fetch mostly waits, and decodes and preprocesses one image at a time.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Event, Thread
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from maskmill.decode import decode
from maskmill.errors import ImageError, SegmentationFailed, ShardError, one_line
from maskmill.fetch import Fetcher, FetchLimits
from maskmill.schema import Reference
from maskmill.settings import Settings
from maskmill.store import ObjectReader
from worker.clock import StageClock
from worker.forward import Inputs
from worker.parent import die_with_parent
from worker.segmenter import Segmenter

PREFETCH = 8
"""Images that each DataLoader process keeps ready ahead of the model."""

NICE = 10
"""The model comes first: loader processes take the time that it leaves, and all of it while it waits for them."""

INLINE_BYTES = 2**20
"""Smaller tensors travel in the message itself: handing over a shared-memory file costs 1 to 2 ms of both processes."""


@dataclass(frozen=True)
class Task:
    """One reference to load: the `index`-th of the shard."""

    shard: int
    index: int
    reference: Reference


@dataclass(frozen=True)
class Sample:
    """A task with its tensors, or with the error that it ended with; wall `seconds` by stage."""

    task: Task
    inputs: Inputs = field(default_factory=dict)
    width: int = 0
    height: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    error: ImageError | None = None

    def packed(self) -> Sample:
        """The same with its small tensors as arrays, which pickle into the message."""
        return replace(self, inputs={name: _packed(value) for name, value in self.inputs.items()})

    def unpacked(self) -> Sample:
        """The same with its arrays as tensors again."""
        inputs = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in self.inputs.items()}
        return replace(self, inputs=inputs)

    def pin_memory(self) -> Sample:
        """For the DataLoader's pinning thread: page-locked tensors, which CUDA copies without waiting."""
        for name, value in self.inputs.items():
            if torch.is_tensor(value):
                self.inputs[name] = value.pin_memory()
        return self


class Reader:
    """Reads one image: its file's bytes, its pixels, its tensors. Raises no `ImageError`: it becomes the sample's."""

    def __init__(self, segmenter: Segmenter, settings: Settings) -> None:
        self.segmenter = segmenter
        self.max_pixels = settings.max_image_pixels
        self.fetcher = Fetcher(
            FetchLimits(max_bytes=settings.max_image_bytes, timeout_seconds=settings.fetch_timeout_seconds),
            read_object=ObjectReader(settings.source_s3),
        )

    def fetch(self, task: Task) -> Fetched:
        """The file's bytes, or why there are none."""
        clock = StageClock()
        try:
            return Fetched(task, clock, clock.time("fetch", self.fetcher.fetch, task.reference.uri))
        except Exception as error:  # noqa: BLE001 - goes on to `read`, in the thread that answers for it
            return Fetched(task, clock, error)

    def read(self, fetched: Fetched) -> Sample:
        """The sample of a fetched image; raises `ShardError` for what is not the image's fault."""
        task, clock = fetched.task, fetched.clock
        try:
            image = clock.time("decode", decode, fetched.take(), max_pixels=self.max_pixels)
            inputs = clock.time("preprocess", self._preprocess, image)
        except ImageError as error:
            return Sample(task, seconds=clock.seconds, error=_bare(error))
        except ShardError:
            raise
        except Exception as error:  # noqa: BLE001 - no memory, or what nobody thought of: this image's own
            unread = ImageError(f"could not be read: {one_line(error)}")
            return Sample(task, seconds=clock.seconds, error=unread)
        return Sample(task, inputs, image.width, image.height, clock.seconds)

    def _preprocess(self, image: Any) -> Inputs:
        try:
            return self.segmenter.preprocess(image)
        except Exception as error:
            raise SegmentationFailed(f"preprocessing failed: {one_line(error)}") from error


@dataclass(frozen=True)
class Fetched:
    """What came of fetching one image."""

    task: Task
    clock: StageClock
    result: bytes | Exception

    def take(self) -> bytes:
        """The bytes; raises what the fetch raised."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class TaskStream(IterableDataset[Sample]):
    """The samples of the tasks in a queue, in the order in which their fetches end; None in the queue ends it."""

    def __init__(self, tasks: Any, reader: Reader, fetch_threads: int) -> None:
        self.tasks = tasks
        self.reader = reader
        self.fetch_threads = fetch_threads

    def __iter__(self) -> Iterator[Sample]:
        fetched: queue.SimpleQueue[Fetched | None] = queue.SimpleQueue()
        room = BoundedSemaphore(2 * self.fetch_threads)  # as many being fetched as fetched and not yet read
        Thread(target=self._fetch_all, args=(fetched, room), daemon=True).start()
        while (each := fetched.get()) is not None:
            room.release()
            yield self.reader.read(each).packed()

    def _fetch_all(self, fetched: queue.SimpleQueue[Fetched | None], room: BoundedSemaphore) -> None:
        def fetch(task: Task) -> None:
            fetched.put(self.reader.fetch(task))

        with ThreadPoolExecutor(self.fetch_threads, thread_name_prefix="fetch") as pool:
            while (task := self.tasks.get()) is not None:
                room.acquire()
                pool.submit(fetch, task)
        fetched.put(None)


class Loader:
    """DataLoader processes for one segmenter. `samples` may be called again and again; `close` ends the processes."""

    def __init__(self, segmenter: Segmenter, settings: Settings) -> None:
        self.processes = settings.loader_processes
        readers = max(1, self.processes)
        threads = math.ceil(settings.fetch_threads / readers)
        self._room = readers * (2 * threads + PREFETCH)
        # forkserver fails in a Celery pool child ('Pickling an AuthenticationString'); spawn would load torch again.
        context = multiprocessing.get_context("fork")
        self._tasks: Any = context.SimpleQueue() if self.processes else queue.SimpleQueue()
        loader = DataLoader(
            TaskStream(self._tasks, Reader(segmenter, settings), threads),
            batch_size=None,
            num_workers=self.processes,
            multiprocessing_context=context if self.processes else None,
            prefetch_factor=PREFETCH if self.processes else None,
            worker_init_fn=_start_process if self.processes else None,
            in_order=False,
            pin_memory=segmenter.device.type == "cuda",
        )
        self._samples = iter(loader)
        self._outstanding = 0

    def samples(self, tasks: Iterable[Task]) -> Iterator[Sample]:
        """A sample for each task, in any order; takes a task only when there is room for it."""
        source = iter(tasks)
        more = True
        while True:
            while more and self._outstanding < self._room:
                task = next(source, None)
                more = task is not None
                if task is not None:
                    self._tasks.put(task)
                    self._outstanding += 1
            if not self._outstanding:
                return
            sample = next(self._samples)
            self._outstanding -= 1
            yield sample.unpacked()

    def close(self) -> None:
        """End the processes; what they had in hand is lost."""
        if not self.processes:
            self._tasks.put(None)
            return
        for process in self._samples._workers:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
            process.terminate()  # torch's own handler takes it, from the parent, for an order: exit code 0
        # The shared event's lock may have ended with a process that was looking at it: `set` would wait for ever.
        self._samples._workers_done_event = Event()  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        # Left to the garbage collector, an iterator may be deleted in a process forked for the next loader, which
        # prints 'can only test a child process' (pytorch#88203).
        self._samples._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001 - as above


def _packed(value: Any) -> Any:
    if not torch.is_tensor(value) or value.nbytes > INLINE_BYTES or value.dtype is torch.bfloat16:
        return value  # NumPy has no bfloat16
    return value.numpy()


def _bare(error: ImageError) -> ImageError:
    """The error without cause and traceback, whose objects may not pickle between processes."""
    return type(error)(str(error))


def _start_process(_: int) -> None:
    die_with_parent()
    os.nice(NICE)
    torch.set_num_threads(1)
