"""What cannot be interrupted ends its process in time, and nothing else does."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

from maskmill_worker.process.clock import each_within
from maskmill_worker.process.watchdog import EXIT_OVERDUE, time_limit


def slow_items() -> Iterator[int]:
    yield 1
    yield 2
    time.sleep(60)
    yield 3


def take_all(seen: multiprocessing.SimpleQueue[int]) -> None:
    for item in each_within(lambda: time_limit(0.8), slow_items()):
        time.sleep(0.9)  # what is done with an item does not count
        seen.put(item)


def work_too_long() -> None:
    with time_limit(0.1):
        time.sleep(60)


def exit_code(process: multiprocessing.context.ForkProcess) -> int | None:
    process.start()
    process.join(30)
    return process.exitcode


def test_items_that_do_not_come_end_the_process() -> None:
    context = multiprocessing.get_context("fork")
    seen = context.SimpleQueue()
    assert exit_code(context.Process(target=take_all, args=(seen,))) == EXIT_OVERDUE
    assert [seen.get(), seen.get(), seen.empty()] == [1, 2, True]


def test_a_block_that_takes_too_long_ends_the_process() -> None:
    assert exit_code(multiprocessing.get_context("fork").Process(target=work_too_long)) == EXIT_OVERDUE


def test_what_is_in_time_goes_on() -> None:
    with time_limit(0.5):
        pass
    assert list(each_within(lambda: time_limit(0.5), [1, 2])) == [1, 2]
    time.sleep(0.6)
