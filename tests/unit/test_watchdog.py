"""What cannot be interrupted ends its process in time, and nothing else does."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.queues import SimpleQueue

import pytest

from maskmill_worker.process.watchdog import EXIT_OVERDUE, NO_LIMIT, time_limit

CONTEXT = multiprocessing.get_context("fork")
FOR_EVER = 600


def exit_code(work: Callable[..., None], *arguments: object) -> int | None:
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


def work_too_long() -> None:
    with time_limit(0.1):
        time.sleep(FOR_EVER)


def work_too_long_after_others(seen: SimpleQueue[int]) -> None:
    for item in range(2):
        with time_limit(2.0):
            pass
        time.sleep(2.2)  # what is done outside of a block does not count
        seen.put(item)
    work_too_long()


def work_too_long_within_a_longer_limit() -> None:
    with time_limit(FOR_EVER):
        work_too_long()


def work_too_long_around_a_shorter_limit() -> None:
    with time_limit(0.3):
        with time_limit(0.1):
            pass
        time.sleep(FOR_EVER)


def work_too_long_in_a_thread() -> None:
    threading.Thread(target=work_too_long, daemon=True).start()
    with time_limit(FOR_EVER):
        time.sleep(FOR_EVER)


@pytest.mark.parametrize(
    "work",
    [
        work_too_long,
        work_too_long_within_a_longer_limit,
        work_too_long_around_a_shorter_limit,
        work_too_long_in_a_thread,
    ],
)
def test_a_block_that_takes_too_long_ends_the_process(work: Callable[[], None]) -> None:
    with time_limit(FOR_EVER):  # the parent's watchdog is not the child's
        assert exit_code(work) == EXIT_OVERDUE


def test_only_the_time_in_blocks_counts() -> None:
    seen = CONTEXT.SimpleQueue()
    assert exit_code(work_too_long_after_others, seen) == EXIT_OVERDUE
    assert [seen.get(), seen.get(), seen.empty()] == [0, 1, True]


def test_the_event_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    exit_code(work_too_long)
    assert "batch_overdue" in "".join(capfd.readouterr())


def fail_in_time() -> None:
    for _ in range(3):
        with suppress(ValueError), time_limit(1.0):
            raise ValueError
    time.sleep(1.5)


def test_a_block_that_raises_is_over() -> None:
    assert exit_code(fail_in_time) == 0


@pytest.mark.parametrize("seconds", [NO_LIMIT, 1e12])
def test_a_limit_may_be_without_end(seconds: float) -> None:
    with time_limit(seconds):
        pass
    work = CONTEXT.Process(target=lambda: time_limit(seconds).__enter__())
    work.start()
    work.join(300)
    assert work.exitcode == 0


def test_a_block_starts_no_thread_of_its_own() -> None:
    with time_limit(FOR_EVER):
        before = threading.active_count()
    for _ in range(100):
        with time_limit(FOR_EVER), time_limit(FOR_EVER):
            assert threading.active_count() == before
