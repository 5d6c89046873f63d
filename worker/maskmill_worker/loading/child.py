"""What runs in a loader process: tasks come in, samples go out, within limits of time and memory."""

from __future__ import annotations

import os
import pickle
import queue
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from torch.utils.data import IterableDataset

from maskmill.errors import ShardError
from maskmill.parent import die_with_parent
from maskmill_worker.loading.fetching import FetchAhead, Tasks
from maskmill_worker.loading.in_flight import InFlight
from maskmill_worker.loading.reader import Fetched, Reader, unread
from maskmill_worker.loading.shared_files import SharedFiles
from maskmill_worker.model.sample import Sample

NICE = 10
"""The model comes first: loader processes take the time that it leaves, and all of it while it waits for them."""

PREFETCH = 8
"""Images that a loader process keeps ready ahead of the model."""

PID_BYTES = 8


@dataclass(frozen=True)
class Limits:
    """What reading one image may take, and the memory of a process beyond what it starts with."""

    image_seconds: float
    memory_bytes: int


class SampleStream(IterableDataset[int]):
    """Writes samples into files and sends their numbers; DataLoader's own items only set the pace.

    DataLoader's code takes locks that it shares with the worker, so no process may be killed in it. Hence no image is
    in flight when the number of its file is sent: once the worker has shut the channel down, a process that has an
    image in flight cannot come back to that code, and may be killed.
    """

    def __init__(self, reader: Reader, fetch_threads: int, limits: Limits, channel: socket.socket) -> None:
        self.reader = reader
        self.fetch_threads = fetch_threads
        self.limits = limits
        self.channel = channel
        self.in_flight = InFlight()
        self.files = SharedFiles(PREFETCH)

    def __iter__(self) -> Iterator[int]:
        tasks: Tasks = queue.SimpleQueue()
        Thread(target=receive_tasks, args=(self.channel, tasks), name="tasks", daemon=True).start()
        fetched = FetchAhead(self.reader.fetch, tasks, self.fetch_threads)
        for each in fetched:
            with self.in_flight.reading(each.task.key), _alarm(self.limits.image_seconds):
                number = self._read(each)
            try:
                self.channel.sendall(bytes([number]))
            except OSError:  # the worker has shut it down
                return
            yield number

    def _read(self, fetched: Fetched) -> int:
        """The number of the file with the sample, or with the error that is no image's fault."""
        task = fetched.task
        try:
            return self.files.write((task.key, self.reader.read(fetched)))
        except ShardError as error:
            return self.files.write((task.key, type(error)(str(error))))
        except Exception as error:  # noqa: BLE001 - the sample cannot be written, mostly for want of memory
            return self.files.write((task.key, Sample(task, error=unread(error))))


def receive_tasks(channel: socket.socket, tasks: Tasks) -> None:
    """Move the tasks that are sent into the queue; None follows when there will be no more."""
    with channel.makefile("rb") as stream:
        while True:
            try:
                tasks.put(pickle.load(stream))  # noqa: S301 - from the worker, which forked this process
            except (EOFError, OSError):
                tasks.put(None)
                return


def begin(worker: int, limits: Limits, channel: socket.socket, _: int) -> None:
    """Set the limits of a process that has just been forked by the process `worker`, and tell its id."""
    die_with_parent(worker)
    os.nice(NICE)
    _limit_memory(limits.memory_bytes)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    channel.sendall(os.getpid().to_bytes(PID_BYTES, "little"))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Let the kernel end this process, by SIGALRM, if the block takes longer: whatever it does, and nothing else."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


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
