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
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any

import torch
from torch.utils.data import DataLoader

from maskmill.errors import ImageCrashed, ImageError, ImageOverdue
from maskmill.settings import Settings
from worker.in_hand import InHand
from worker.parent import die_with_parent
from worker.reader import Reader, TaskStream
from worker.sample import Key, Sample
from worker.segmenter import Segmenter

PREFETCH = 8
"""Images that each DataLoader process keeps ready ahead of the model, and as many are received."""

NICE = 10
"""The model comes first: loader processes take the time that it leaves, and all of it while it waits for them."""

LOOK_SECONDS = 0.5
"""How often somebody looks whether the processes live and get on."""


class Crew:
    """Running loader processes: tasks go into `tasks`, and what comes of them is received in a thread.

    A thread, because handing a tensor over is milliseconds of waiting in which the model could run, and because
    somebody has to look after the processes meanwhile.
    """

    def __init__(self, segmenter: Segmenter, settings: Settings, threads: int) -> None:
        self.processes = settings.loader_processes
        self.timeout_seconds = settings.image_timeout_seconds
        # forkserver fails in a Celery pool child ('Pickling an AuthenticationString'); spawn would load torch again.
        context = multiprocessing.get_context("fork")
        self.tasks: Any = context.SimpleQueue() if self.processes else queue.SimpleQueue()
        self._in_hand = InHand(context, self.processes)
        loader = DataLoader(
            TaskStream(self.tasks, Reader(segmenter, settings), threads, self._in_hand),
            batch_size=None,
            num_workers=self.processes,
            multiprocessing_context=context if self.processes else None,
            prefetch_factor=PREFETCH if self.processes else None,
            worker_init_fn=partial(_start_process, settings.loader_memory_bytes) if self.processes else None,
            in_order=False,
            pin_memory=segmenter.device.type == "cuda",
            timeout=LOOK_SECONDS if self.processes else 0,
        )
        # Objects that the collector visits are written to, and their pages then are no longer shared after a fork.
        gc.collect()
        gc.freeze()
        with _own_sigchld():
            self._samples = iter(loader)
        self._overdue: set[Key] = set()
        self._closing = Event()
        self._received: queue.Queue[Sample | Exception | None] = queue.Queue(PREFETCH)
        self._receiver = Thread(target=self._receive_all, name="receive", daemon=True)
        if self.processes:
            # The processes are ended, not asked to leave. The lock of the event that they share may end with one that
            # is looking at it, and who asks it then waits for ever.
            self._samples._workers_done_event = Event()  # type: ignore[attr-defined]  # noqa: SLF001 - as below
            self._receiver.start()

    def next(self) -> Sample | None:
        """One sample; None when a process has died, after which this crew is of no more use. Raises `ShardError`."""
        received = self._received.get() if self.processes else next(self._samples)
        if isinstance(received, Exception):
            raise received
        return received if received is None else received.unpacked()

    def culprits(self) -> dict[Key, ImageError]:
        """The tasks that dead processes had in hand, with what to say of them."""
        dead = [number for number, process in enumerate(self._processes) if not process.is_alive()]
        keys = [key for key, _ in filter(None, map(self._in_hand.of, dead))]
        overdue = ImageOverdue(f"took more than {self.timeout_seconds:g} s to read (MASKMILL_IMAGE_TIMEOUT_SECONDS)")
        return {
            key: overdue if key in self._overdue else ImageCrashed("ended the process that read it") for key in keys
        }

    def close(self) -> None:
        """End the processes; what they have in hand, or have handed over and nobody asked for, is lost."""
        gc.unfreeze()
        if not self.processes:
            self.tasks.put(None)
            return
        self._closing.set()
        for process in self._processes:
            process.terminate()  # torch's own handler takes it, from the parent, for an order: exit code 0
        self._receiver.join()
        # Left to the garbage collector, an iterator may be deleted in a process forked for the next loader, which
        # prints 'can only test a child process' (pytorch#88203).
        self._samples._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001 - as below

    @property
    def _processes(self) -> list[BaseProcess]:
        return self._samples._workers if self.processes else []  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way

    def _receive_all(self) -> None:
        received: Sample | Exception | None
        while not self._closing.is_set():
            self._end_overdue()
            try:
                received = next(self._samples)
            except Exception as error:  # noqa: BLE001 - raised by `next`, in the thread that asks for samples
                received = error
            if not self._all_alive():
                received = None
            elif isinstance(received, RuntimeError) and "timed out" in str(received):
                continue
            self._hand_over(received)
            if not isinstance(received, Sample):
                return

    def _hand_over(self, received: Sample | Exception | None) -> None:
        while not self._closing.is_set():
            with suppress(queue.Full):
                self._received.put(received, timeout=LOOK_SECONDS)
                return

    def _all_alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def _end_overdue(self) -> None:
        for number, process in enumerate(self._processes):
            held = self._in_hand.of(number)
            if held and held[1] > self.timeout_seconds:
                self._overdue.add(held[0])
                process.kill()


def _start_process(memory_bytes: int, _: int) -> None:
    die_with_parent()
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
    yield
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
