"""Threads that take batches through one model, each with its share of the cores.

On a CPU an operation with few values gains nothing from a second core, and every operation waits for the slowest of its
threads. Two passes at a time, in threads over the same weights, keep two cores busy for the memory of one model. A GPU
is filled by one pass, but only for as long as there is one: with a thread more than passes, a batch is copied or
post-processed while others are in the model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from threading import Semaphore, local
from typing import TypeAlias

import torch

from maskmill_worker.model.device_errors import raise_if_lost
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import AtATime, Segmenter
from maskmill_worker.process.clock import DeviceClock

SIDE_BY_SIDE = 2
"""Passes at a time unless the settings say: more of them wait for Python's lock, which one thread in four holds."""

SWITCH_SECONDS = 1e-3
"""How long another thread may keep Python's lock while one of these waits for it, which it does after each operation.

Python's own 5 ms are longer than an upload thread computes before it waits for the network, so that it kept the lock
for all of that time (bpo-7946, the 'convoy effect'). A twentieth of this costs more in switches than it brings: 3 to
6 % of the images a second of benchmarks B and E.
"""

Batch: TypeAlias = list[Sample]


@dataclass(frozen=True)
class Lanes:
    """How many forward passes go through a model at a time, and how many threads take turns with them.

    Each pass has `cores` of torch's threads, what is done beside passes `cores_beside`.
    """

    passes: int
    threads: int
    cores: int
    cores_beside: int


def lanes(segmenter: Segmenter, asked: int | None, cores: int) -> Lanes:
    """As many as the model allows, but no more passes than asked for, or than torch has threads for.

    Torch's threads are shared out: `OMP_NUM_THREADS`, else as many as the machine has cores for. There is a thread more
    than passes where `OMP_NUM_THREADS` leaves a core to it: else it takes theirs, and an operation waits for its
    slowest thread. Torch's own number may be that of physical cores (MKL's), which leaves none idle.
    """
    threads = torch.get_num_threads()
    passes = min(asked or SIDE_BY_SIDE, threads) if segmenter.at_a_time is AtATime.ANY else 1
    share, left = max(1, threads // passes), cores - threads
    if segmenter.at_a_time is AtATime.BATCH:
        return Lanes(1, 1, share, share)
    if segmenter.device.type != "cpu":
        return Lanes(passes, passes + 1, share, share)
    if left > 0 and "OMP_NUM_THREADS" in os.environ:
        return Lanes(passes, passes + 1, share, min(share, left))
    return Lanes(passes, passes, share, share)


class ForwardThreads:
    """Threads that call `work` with a batch each, in which `turn` lets so many of them run the model as may at a time.

    `clock` hears how long they wait for a batch, and how long they run the model.

    >>> with ForwardThreads(work, lanes(segmenter, asked=1, cores=2), clock, torch.device("cpu")).open() as threads:
    ...     for batch in batches:
    ...         threads.run(batch, entering=note)  # waits until one of them is free
    ...     threads.finish()
    """

    def __init__(self, work: Callable[[Batch], None], lanes: Lanes, clock: DeviceClock, device: torch.device) -> None:
        self.lanes = lanes
        self._work = work
        self._clock = clock
        self._device = device
        self._turns = Semaphore(lanes.passes)
        self._running: dict[Future[None], Batch] = {}
        self._numbers = count()
        self._own = local()
        self._pool = ThreadPoolExecutor(lanes.threads, "forward", self._begin)  # starts them when needed

    @contextmanager
    def open(self) -> Iterator[ForwardThreads]:
        """End the threads after the block; after an interruption without waiting for their batches."""
        at_once, before = True, sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._clock.passes = self.lanes.passes
        self._clock.wait("loading", self.lanes.threads)
        try:
            yield self
            at_once = False
        except Exception:
            at_once = False
            raise
        finally:
            self._pool.shutdown(wait=not at_once, cancel_futures=True)
            self._clock.wait("loading", -self.lanes.threads)
            sys.setswitchinterval(before)

    @property
    def at_work(self) -> bool:
        """Whether a batch is in the model."""
        return not all(future.done() for future in self._running)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until this thread may run a forward pass; the block is the pass."""
        with self._turns, self._clock.working(), _torch_threads(self.lanes.cores, self.lanes.cores_beside):
            yield

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The block is a pass with the model for itself, with all cores, of the thread that calls `run`."""
        with self._clock.working(self.lanes.passes):
            yield

    def run(self, batch: Batch, entering: Callable[[Batch], None]) -> None:
        """Have the batch run as soon as a thread is free; `entering` gets all images that are in the model then.

        Raises what an earlier batch ended with.
        """
        self._wait_until_left(self.lanes.threads - 1)
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

    def _begin(self) -> None:
        self._own.number = next(self._numbers)
        torch.get_num_threads()  # sets up this thread, which otherwise undoes the next line at its first operation
        torch.set_num_threads(self.lanes.cores_beside)  # of this thread's own OpenMP team

    def _run(self, batch: Batch) -> None:
        self._clock.wait("loading", -1)
        try:
            if self._device.type == "cuda":
                self._take_stream()
            self._work(batch)
        except Exception as error:
            raise_if_lost(error)
            raise
        finally:
            self._clock.wait("loading")

    def _take_stream(self) -> None:
        """A stream of the thread's own: its copies and its post-processing wait for no other's passes."""
        stream = _stream(self._device, self._own.number)
        stream.wait_stream(torch.cuda.default_stream(self._device))  # on which the model was loaded
        torch.cuda.set_stream(stream)


@contextmanager
def _torch_threads(number: int, after: int) -> Iterator[None]:
    """So many threads of torch for the block's operations, another number for those after it."""
    if number == after:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(after)


@cache
def _stream(device: torch.device, _number: int) -> torch.cuda.Stream:
    """A stream for a thread of this number; later slices use it again, because torch keeps freed memory by stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own is untyped
