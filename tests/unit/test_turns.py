"""Whose turn it is, for every state of two or three jobs."""

from __future__ import annotations

import pytest
from maskmill_worker.shards.scheduler import choose

from maskmill.ledger.answers import Load


def load(job: str, claimed: int, priority: int = 0) -> Load:
    return Load(job, "s3://b/o", priority, claimed)


@pytest.mark.parametrize(
    ("loads", "current", "stay", "chosen"),
    [
        ([load("a", 3)], "a", True, "a"),
        ([load("a", 3)], None, False, "a"),
        ([load("a", 0), load("b", 0)], None, False, "a"),
        ([load("a", 4), load("b", 1)], None, False, "b"),
        ([load("a", 1), load("b", 0)], "a", True, "a"),
        ([load("a", 1), load("b", 0)], "a", False, "b"),
        ([load("a", 2), load("b", 0)], "a", True, "b"),
        ([load("a", 1), load("b", 1)], "a", False, "a"),
        ([load("a", 0), load("b", 9, priority=1)], "a", True, "b"),
        ([load("a", 0, priority=-1), load("b", 9)], None, False, "b"),
    ],
)
def test_the_turn_is(loads: list[Load], current: str | None, stay: bool, chosen: str) -> None:
    assert choose(loads, current, current, stay=stay).job == chosen


def test_between_two_shifts_the_last_choice_stands() -> None:
    loads = [load("large", 0), load("small", 0)]
    assert choose(loads, None, "small", stay=True).job == "small"
    assert choose(loads, None, "small", stay=False).job == "large"
