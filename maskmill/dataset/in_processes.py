"""Work on a job's shards in processes: the results in order, a bounded number of shards ahead."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from multiprocessing import resource_tracker
from typing import Any, Generic, TypeAlias, TypeVar

from maskmill.machine import kept_heap
from maskmill.parent import die_with_parent

Worker = TypeVar("Worker")
Item = TypeVar("Item")
Answer = TypeVar("Answer")

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with images done and images in all."""

_workers: list[Any] = []
"""The worker of this process, once it is one of a pool's."""


class Pool(Generic[Worker]):
    """Processes that each have a worker of their own: `make()` is called once in each.

    One process is this one: nothing is started. More are loky's, which need no guard of `__main__` in a user's script
    and say so when one of them dies; they start while who enters goes on. `make` and what goes to and fro is pickled.

    >>> with Pool(list, 1) as pool:
    ...     list(pool.map(lambda worker, item: item + 1, [1, 2]))
    [2, 3]
    """

    def __init__(self, make: Callable[[], Worker], processes: int) -> None:
        self._make, self._processes = make, processes
        self._executor: Any = None

    def __enter__(self) -> Pool[Worker]:
        if self._processes > 1:
            from loky import ProcessPoolExecutor

            resource_tracker.ensure_running()  # which unblocks Ctrl-C when it starts in the middle of something
            self._executor = ProcessPoolExecutor(
                self._processes,
                initializer=_start,
                initargs=(self._make, os.getpid()),
                timeout=None,
                env=kept_heap(),
            )
            try:
                self._submit(_nothing, None)
            except BaseException:  # such as Ctrl-C: nobody else ends what has started
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, kill_workers=True)

    def map(self, work: Callable[[Worker, Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """`work(worker, item)` for each item, in order; what it raised is raised in its place."""
        if not self._executor:
            for item in items:
                yield work(self._own_worker, item)
            return
        pending = deque[Future[Answer]]()
        for item in items:
            pending.append(self._submit(work, item))
            if len(pending) > 2 * self._processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    @cached_property
    def _own_worker(self) -> Worker:
        return self._make()

    def _submit(self, work: Callable[[Worker, Item], Answer], item: Item) -> Future[Answer]:
        with interrupts_held_back():  # it may start a process
            submitted: Future[Answer] = self._executor.submit(_work, work, item)
        return submitted


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes that the block starts never hear Ctrl-C, not even while they import; this one does after the block.

    A blocked signal is inherited (signal(7)). Python has no such call on Windows.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(make: Callable[[], Any], parent: int) -> None:
    """A process of the pool: it ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
    _workers[:] = [make()]


def _nothing(_worker: Any, _item: Any) -> None:
    """The first task, with which processes start."""


def _work(work: Callable[[Any, Item], Answer], item: Item) -> Answer:
    return work(_workers[0], item)
