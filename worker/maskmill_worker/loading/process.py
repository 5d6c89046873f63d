"""A loader process as the worker sees it: a DataLoader of one process, with a channel of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import TypeAlias

import structlog
from torch.utils.data import DataLoader

from maskmill.errors import LoaderDied, ShardError, one_line
from maskmill_worker.loading.child import PID_BYTES, PREFETCH, Limits, SampleStream, begin
from maskmill_worker.loading.reader import Reader
from maskmill_worker.model.sample import Key, Sample, Task

START_SECONDS = 60.0
LOOK_SECONDS = 0.5
END_SECONDS = 10.0
"""How long a process whose channel has ended may take to be dead."""

CLOSE_SECONDS = 3.0
"""How long one that is to end may take until it is killed wherever it is (as when it was stopped)."""

Parcel: TypeAlias = tuple[Key, Sample | ShardError]
"""What became of a task."""

log = structlog.get_logger(__name__)


class LoaderProcess:
    """One process and what it has in flight; a dead one concerns nobody else, for no two share anything.

    A thread starts the process, and receives its samples for as long as it lives. It has to be a thread, because in
    the main one torch sets a handler of SIGCHLD, which raises for a dead process wherever that thread is by then; and
    the one that starts it, because a process ends with the thread that forked it (PR_SET_PDEATHSIG, prctl(2)).
    """

    def __init__(
        self,
        reader: Reader,
        fetch_threads: int,
        limits: Limits,
        deliver: Callable[[LoaderProcess, Parcel | None], None],
    ) -> None:
        self.tasks: dict[Key, Task] = {}
        self._deliver = deliver
        self._closing = Event()
        self._channel, theirs = socket.socketpair()
        stream = SampleStream(reader, fetch_threads, limits, theirs)
        self.in_flight, self._files = stream.in_flight, stream.files
        started: Future[BaseProcess] = Future()
        self._thread = Thread(target=self._run, args=(stream, started), name="receive", daemon=True)
        # Objects that the collector visits are written to, and their pages then are no longer shared after a fork.
        gc.collect()
        gc.freeze()
        self._thread.start()
        try:
            self._process = started.result()  # this thread waits, so that it is not forked in the middle of anything
        except BaseException:
            self.shut()
            raise

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid or 0

    @property
    def overdue(self) -> bool:
        """Whether the process is dead because its image took too long."""
        return self._process.exitcode == -signal.SIGALRM

    def put(self, task: Task) -> None:
        """Hand a task over."""
        self.tasks[task.key] = task
        with suppress(OSError):  # it is dead, as will be delivered
            self._channel.sendall(pickle.dumps(task))

    def shut(self) -> None:
        """Have the process end; what it has in flight is lost."""
        self._closing.set()
        with suppress(OSError):  # it is dead
            self._channel.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until a process that was shut has ended, at once if it reads an image."""
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self.in_flight.key:
                self._process.kill()
            self._thread.join(LOOK_SECONDS / 10)
        self._process.kill()
        self._thread.join(END_SECONDS)

    def _run(self, stream: SampleStream, started: Future[BaseProcess]) -> None:
        """The process's life. Its end is waited for when the iterator goes, which must be in this thread.

        Left to the garbage collector, an iterator may go in a process forked for another one, which prints 'can only
        test a child process' (pytorch#88203).
        """
        try:
            samples = iter(_data_loader(stream))
            stream.channel.close()
            started.set_result(self._started())
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for the process
            for each in (stream.channel, self._channel, self._files):
                each.close()
            started.set_exception(LoaderDied(f"a loader process could not be started: {one_line(error)}"))
            return
        try:
            self._receive_all(samples)
        except Exception as error:  # noqa: BLE001 - such as no memory for a sample: it is read again
            log.warning("sample_not_received", reason=one_line(error))
            self._process.kill()
        if not self._closing.is_set():
            self._process.join(END_SECONDS)
            self._process.kill()
            self._deliver(self, None)
        del samples
        self._files.close()
        self._channel.close()

    def _started(self) -> BaseProcess:
        self._channel.settimeout(START_SECONDS)
        pid = int.from_bytes(self._channel.recv(PID_BYTES), "little")
        self._channel.settimeout(None)
        for process in multiprocessing.active_children():
            if process.pid == pid:
                return process
        raise LoaderDied("it died at once")

    def _receive_all(self, samples: Iterator[int]) -> None:
        while (number := self._receive()) is not None and not self._closing.is_set():
            self._deliver(self, self._files.read(number))
            self._acknowledge(samples)

    def _receive(self) -> int | None:
        """The number of the next file; None once the channel is shut down, or the process dead."""
        with suppress(ConnectionResetError):
            return next(iter(self._channel.recv(1)), None)
        return None

    def _acknowledge(self, samples: Iterator[int]) -> None:
        """Take DataLoader's item, which follows the number at once, so that the next sample is asked for."""
        while not self._closing.is_set():
            try:
                next(samples)
            except Exception:  # noqa: BLE001 - DataLoader's time is up, or the process dead: then the channel ends
                self._process.join(LOOK_SECONDS)
                if self._process.is_alive():
                    continue
            return


def _data_loader(stream: SampleStream) -> DataLoader[int]:
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=1,
        # forkserver fails in a Celery pool child ('Pickling an AuthenticationString'); spawn would load torch again.
        multiprocessing_context=multiprocessing.get_context("fork"),
        prefetch_factor=PREFETCH,
        worker_init_fn=partial(begin, os.getpid(), stream.limits, stream.channel),
        timeout=LOOK_SECONDS,
    )
