"""Work in threads, ahead of who asks for it: the results in order, a bounded number in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """`itertools.batched` of Python 3.12: so many items at a time, of the last perhaps fewer.

    >>> list(batched("abc", 2))
    [('a', 'b'), ('c',)]
    """
    iterator = iter(items)
    return iter(lambda: tuple(islice(iterator, size)), ())


def map_ahead(function: Callable[[Item], Answer], items: Iterable[Item], threads: int) -> Iterator[Answer]:
    """`map` in threads, at most two items a thread ahead; what `function` raised is raised in its place.

    `Executor.map` takes all items at once before its `buffersize` of Python 3.14 (python/cpython#74028). What has not
    begun is dropped when the iterator is closed early. Nobody waits for the rest then: an iterator that was left behind
    is closed by the garbage collector, in any thread, which may be starting and hold the lock that a join needs.
    """
    pool, pending = ThreadPoolExecutor(threads), deque[Future[Answer]]()
    left_early = False
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except GeneratorExit:
        left_early = True
        raise
    finally:
        pool.shutdown(wait=not left_early, cancel_futures=True)
