from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from maskmill.storage.ahead import map_ahead
from tests.conftest import wait_for

THREADS = 3


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first() -> None:
    def slower_at_first(number: int) -> int:
        time.sleep((20 - number) / 1000)
        return number

    assert list(map_ahead(slower_at_first, range(20), THREADS)) == list(range(20))


def test_no_more_than_two_items_a_thread_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(str, items(), THREADS)

    assert [next(results), next(results)] == ["0", "1"]
    assert len(taken) == 2 * THREADS + 2


def test_what_the_function_raises_is_raised_in_its_place() -> None:
    results = map_ahead(lambda number: 1 // (2 - number), range(5), THREADS)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_closed_iterator_leaves_no_thread_and_begins_nothing_more() -> None:
    before, begun = threading.active_count(), list[int]()

    def note(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    results = map_ahead(note, range(1000), THREADS)
    next(results)
    results.close()

    wait_for(lambda: threading.active_count() == before, lambda: begun, 60)
    assert len(begun) <= 2 * THREADS + 1


def test_nothing_gives_nothing() -> None:
    assert list(map_ahead(str, [], THREADS)) == []


def test_who_leaves_early_waits_for_nobody() -> None:
    """The garbage collector may be the one that leaves, in a thread that holds what a join needs."""
    release = threading.Event()

    def act(number: int) -> int:
        if number:
            release.wait(60)
        return number

    answers = map_ahead(act, range(4), 2)
    assert next(answers) == 0
    closing = threading.Thread(target=answers.close)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    release.set()
