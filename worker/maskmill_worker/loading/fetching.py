"""Fetches ahead of whoever decodes, in threads, because a fetch mostly waits."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

from maskmill_worker.model.sample import Task

Fetched = TypeVar("Fetched")

Tasks = queue.SimpleQueue[Task | None]
"""Tasks to do; None ends their reader."""


class FetchAhead(Generic[Fetched]):
    """What `fetch` gives for each task, in the order in which the fetches end.

    With n threads up to 2n tasks are being fetched or wait to be taken; the others stay in `tasks`.

    >>> for fetched in FetchAhead(reader.fetch, tasks, threads=8):  # ends with None in `tasks`, and drops the rest
    ...     sample = reader.read(fetched)
    """

    def __init__(self, fetch: Callable[[Task], Fetched], tasks: Tasks, threads: int) -> None:
        self._fetch = fetch
        self._tasks = tasks
        self._threads = threads
        self._fetched: queue.SimpleQueue[Fetched | None] = queue.SimpleQueue()
        self._room = Semaphore(2 * threads)
        self._ended = Event()

    def __iter__(self) -> Iterator[Fetched]:
        for _ in range(self._threads):
            # Daemons, for a slow server must not hold up the end of a process.
            Thread(target=self._fetch_all, name="fetch", daemon=True).start()
        try:
            while (fetched := self._fetched.get()) is not None and not self._ended.is_set():
                self._room.release()
                yield fetched
        finally:
            self._end()

    def _fetch_all(self) -> None:
        while True:
            self._room.acquire()
            task = None if self._ended.is_set() else self._tasks.get()
            if task is None:
                self._end()
                return
            self._fetched.put(self._fetch(task))

    def _end(self) -> None:
        """Let every thread see the end, wherever it waits: for room, for a task, or for what was fetched."""
        self._ended.set()
        self._room.release(self._threads)
        self._tasks.put(None)
        self._fetched.put(None)
