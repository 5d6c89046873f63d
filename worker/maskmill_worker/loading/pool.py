"""DataLoader processes: started, bounded, looked after and ended."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any

import torch
from torch.utils.data import DataLoader

from maskmill.errors import ImageCrashed, ImageError, ImageOverdue
from maskmill.settings import Settings
from maskmill_worker.loading.in_flight import InHand
from maskmill_worker.loading.reader import Reader, TaskStream
from maskmill_worker.model.sample import Key, Sample, Task
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.process.parent import die_with_parent

PREFETCH = 8
"""Images that each DataLoader process keeps ready ahead of the model, and as many are received."""

NICE = 10
"""The model comes first: loader processes take the time that it leaves, and all of it while it waits for them."""

LOOK_SECONDS = 0.5
"""How often somebody looks whether the processes live and get on."""

DEATH_SECONDS = 10.0
"""How long a process whose pipe has ended may take to be dead."""


class Crew:
    """Running loader processes: tasks are `put`, and what comes of them is received in a thread.

    A thread, because handing a tensor over is milliseconds of waiting in which the model could run. A second one looks
    after the processes: the first may be in the middle of a message whose sender is dead.
    """

    def __init__(self, segmenter: Segmenter, settings: Settings, threads: int) -> None:
        self.processes = settings.loader_processes
        self.timeout_seconds = settings.image_timeout_seconds
        # forkserver fails in a Celery pool child ('Pickling an AuthenticationString'); spawn would load torch again.
        context = multiprocessing.get_context("fork")
        self._tasks: Any = context.SimpleQueue() if self.processes else queue.SimpleQueue()
        self._in_hand = InHand(context, self.processes)
        start = partial(_start_process, os.getpid(), settings.loader_memory_bytes)
        loader = DataLoader(
            TaskStream(self._tasks, Reader(segmenter, settings), threads, self._in_hand),
            batch_size=None,
            num_workers=self.processes,
            multiprocessing_context=context if self.processes else None,
            prefetch_factor=PREFETCH if self.processes else None,
            worker_init_fn=start if self.processes else None,
            in_order=False,
            timeout=LOOK_SECONDS if self.processes else 0,
        )
        self._pin_memory = segmenter.device.type == "cuda"
        # Objects that the collector visits are written to, and their pages then are no longer shared after a fork.
        gc.collect()
        gc.freeze()
        with _own_sigchld():
            self._samples: Any = iter(loader)
        self._overdue: set[Key] = set()
        self._dead: list[int] = []
        self._closing = Event()
        self._received: queue.Queue[Sample | Exception | None] = queue.Queue(PREFETCH)
        self._receiver = Thread(target=self._receive_all, name="receive", daemon=True)
        self._looker = Thread(target=self._look_after, name="look-after", daemon=True)
        if self.processes:
            self._leave_the_pipes_to_the_processes()
            self._looker.start()
            self._receiver.start()

    def put(self, task: Task) -> None:
        """Hand a task to whichever process is free."""
        with suppress(BrokenPipeError):  # they are dead, as `next` will tell
            self._tasks.put(task)

    def next(self) -> Sample | None:
        """One sample; None when a process has died, after which this crew is of no more use. Raises `ShardError`."""
        received = self._received.get() if self.processes else self._ready(next(self._samples))
        if isinstance(received, Exception):
            raise received
        return received

    def culprits(self) -> dict[Key, ImageError]:
        """The tasks that dead processes had in hand, with what to say of them; once `next` has told of a death."""
        self._looker.join()
        keys = [key for key, _ in filter(None, map(self._in_hand.of, self._dead))]
        overdue = ImageOverdue(f"took more than {self.timeout_seconds:g} s to read (MASKMILL_IMAGE_TIMEOUT_SECONDS)")
        return {
            key: overdue if key in self._overdue else ImageCrashed("ended the process that read it") for key in keys
        }

    def close(self) -> None:
        """End the processes; what they have in hand, or have handed over and nobody asked for, is lost."""
        gc.unfreeze()
        if not self.processes:
            self._tasks.put(None)
            return
        self._closing.set()
        self._kill_all()
        self._looker.join()
        self._receiver.join()
        # Left to the garbage collector, an iterator may be deleted in a process forked for the next loader, which
        # prints 'can only test a child process' (pytorch#88203).
        self._samples._shutdown_workers()  # noqa: SLF001 - as below

    @property
    def _processes(self) -> list[BaseProcess]:
        return self._samples._workers if self.processes else []  # noqa: SLF001 - there is no public way

    def _leave_the_pipes_to_the_processes(self) -> None:
        """Close this process's copies of their ends: whoever waits at a pipe is told when the last process is dead."""
        self._tasks._reader.close()  # noqa: SLF001 - as above
        self._samples._worker_result_queue._writer.close()  # noqa: SLF001 - as above
        # The lock of the event that they share may end with one that is looking at it: nobody else may ask it.
        self._samples._workers_done_event = Event()  # noqa: SLF001 - as above

    def _ready(self, packed: Sample) -> Sample:
        """The sample as the model wants it."""
        sample = packed.unpacked()
        return sample.pin_memory() if self._pin_memory else sample

    def _receive_all(self) -> None:
        received: Sample | Exception | None
        while not self._closing.is_set():
            try:
                received = self._ready(next(self._samples))
            except Exception as error:  # noqa: BLE001 - raised by `next`, in the thread that asks for samples
                received = error
            if isinstance(received, OSError | EOFError):  # a dying process leaves its pipe before it counts as dead
                self._looker.join(DEATH_SECONDS)
            if not self._all_alive():
                received = None
            elif isinstance(received, RuntimeError) and "DataLoader timed out" in str(received):
                continue
            self._hand_over(received)
            if not isinstance(received, Sample):
                return

    def _hand_over(self, received: Sample | Exception | None) -> None:
        while not self._closing.is_set():
            with suppress(queue.Full):
                self._received.put(received, timeout=LOOK_SECONDS)
                return

    def _look_after(self) -> None:
        """End the process that is overdue. Once one is dead, end all: it may have held the lock of a pipe."""
        while self._all_alive():
            for number, process in enumerate(self._processes):
                held = self._in_hand.of(number)
                if held and held[1] > self.timeout_seconds:
                    self._overdue.add(held[0])
                    process.kill()
            wait([process.sentinel for process in self._processes], LOOK_SECONDS)
        self._dead = [number for number, process in enumerate(self._processes) if not process.is_alive()]
        self._kill_all()

    def _all_alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def _kill_all(self) -> None:
        for process in self._processes:
            process.kill()


def _start_process(parent: int, memory_bytes: int, _: int) -> None:
    die_with_parent(parent)
    os.nice(NICE)
    _limit_memory(memory_bytes)
    torch.set_num_threads(1)


def _limit_memory(more_bytes: int) -> None:
    """Let this process take so much memory beyond what it has, then fail the allocation (setrlimit(2), RLIMIT_DATA).

    RLIMIT_AS would count what is only reserved: CUDA reserves more than any machine has.
    """
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])  # data and stack, proc_pid_statm(5)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@contextmanager
def _own_sigchld() -> Iterator[None]:
    """Undo torch's SIGCHLD handler: it raises for a dead loader process wherever the main thread is by then."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
