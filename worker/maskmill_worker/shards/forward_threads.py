"""Threads that run batches through one model side by side, each with its share of the cores.

On a CPU an operation with few values gains nothing from a second core, and every operation waits for the slowest of its
threads. Two batches at a time, in threads over the same weights, keep two cores busy for the memory of one model.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import local
from typing import TypeAlias

import torch

from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.process.clock import DeviceClock

SIDE_BY_SIDE = 2
"""Batches at a time unless the settings say: more of them wait for Python's lock, which one thread in four holds."""

SWITCH_SECONDS = 50e-6
"""How long another thread may keep Python's lock while one of these waits for it, which it does after each operation.

Python's own 5 ms are longer than an upload thread computes before it waits for the network, so that it kept the lock
for all of that time (bpo-7946, the 'convoy effect').
"""

LIGHT_ELEMENTS = 2**21
"""Numbers in a batch's tensors (8 MiB of float32) up to which a second batch at the same time is small in memory."""

Batch: TypeAlias = list[Sample]


def thread_count(segmenter: Segmenter, asked: int | None) -> int:
    """How many batches a model is to run at a time: one, unless it can run side by side and there are threads for it.

    Torch's threads are shared out: `OMP_NUM_THREADS`, else the cores that this process may use.
    """
    return min(asked or SIDE_BY_SIDE, torch.get_num_threads()) if segmenter.side_by_side else 1


def images_each(images: int, elements: int, threads: int) -> int:
    """How many images of so many elements a thread takes at a time.

    A light batch it takes whole. A heavy one is shared out, so that memory stays that of one batch.

    >>> images_each(4, 3 * 240 * 320, threads=2), images_each(4, 3 * 800 * 1200, threads=2)
    (4, 2)
    """
    return images if images * elements <= LIGHT_ELEMENTS else math.ceil(images / threads)


class ForwardThreads:
    """`count` threads that call `work` with a batch each. `clock` hears how long they wait for one.

    >>> with ForwardThreads(work, 2, clock).open() as threads:
    ...     for batch in batches:
    ...         threads.run(batch, entering=note)  # waits until one of them is free
    ...     threads.finish()
    """

    def __init__(self, work: Callable[[Batch], None], count: int, clock: DeviceClock) -> None:
        self.count = clock.threads = count
        self._work = work
        self._clock = clock
        self._idle = local()
        self._began = time.perf_counter()
        self._running: dict[Future[None], Batch] = {}
        share = max(1, torch.get_num_threads() // count)
        self._pool = ThreadPoolExecutor(count, "forward", self._begin, (share,))  # starts them as they are needed

    @contextmanager
    def open(self) -> Iterator[ForwardThreads]:
        """End the threads after the block; after an interruption without waiting for their batches."""
        at_once, before = True, sys.getswitchinterval()
        if self.count > 1:
            sys.setswitchinterval(SWITCH_SECONDS)
        try:
            yield self
            at_once = False
        except Exception:
            at_once = False
            raise
        finally:
            self._pool.shutdown(wait=not at_once, cancel_futures=True)
            sys.setswitchinterval(before)

    @property
    def at_work(self) -> bool:
        """Whether a batch is in the model."""
        return not all(future.done() for future in self._running)

    def run(self, batch: Batch, entering: Callable[[Batch], None]) -> None:
        """Have the batch run as soon as a thread is free; `entering` gets all images that are in the model then.

        Raises what an earlier batch ended with.
        """
        self._wait_until_left(self.count - 1)
        entering([sample for each in (*self._running.values(), batch) for sample in each])
        self._running[self._pool.submit(self._run, batch)] = batch

    def finish(self) -> None:
        """Wait until no batch is in the model; raises what one of them ended with."""
        self._wait_until_left(0)

    def _wait_until_left(self, most: int) -> None:
        while len(self._running) > most or any(future.done() for future in self._running):
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                del self._running[future]
                future.result()

    def _begin(self, share: int) -> None:
        torch.get_num_threads()  # sets up this thread, which otherwise undoes the next line at its first operation
        torch.set_num_threads(share)  # of this thread's own OpenMP team
        self._idle.since = self._began

    def _run(self, batch: Batch) -> None:
        self._clock.waited("loading", self._idle.since)
        try:
            self._work(batch)
        finally:
            self._idle.since = time.perf_counter()
