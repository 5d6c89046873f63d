"""Which image ended a process: for any images that do, each is convicted and no other is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from maskmill_worker.shards.crashes import Suspects

IMAGES = 24


def attempt(suspects: Suspects, batch_size: int, poison: set[int], done: set[int]) -> tuple[Suspects, bool]:
    """One process that works on a shard until it ends, or dies with a poisoned image in the model."""
    left = [index for index in range(IMAGES) if index not in suspects.convicted and index not in done]
    alone = [[index] for index in left if index in suspects.alone]
    others = [index for index in left if index not in suspects.alone]
    batches = alone + [others[first : first + batch_size] for first in range(0, len(others), batch_size)]
    for batch in batches:
        suspects = Suspects.from_note(suspects.holding(batch).note())
        if poison & set(batch):
            return suspects, False
        suspects = suspects.passed()
        done |= set(batch)
    return suspects, True


@given(poison=st.sets(st.integers(0, IMAGES - 1), max_size=6), batch_size=st.integers(1, 8))
def test_exactly_the_poisoned_are_convicted_after_three_crashes_each_at_most(poison: set[int], batch_size: int) -> None:
    suspects, crashes, done = Suspects(), 0, set[int]()
    while True:
        suspects, ended = attempt(suspects, batch_size, poison, done)
        if ended:
            break
        crashes += 1
        assert crashes <= 3 * len(poison)
        suspects = suspects.after_crash()
    assert set(suspects.convicted) == poison
    assert suspects.excused == crashes
    assert done == set(range(IMAGES)) - poison


def test_a_process_that_dies_with_nothing_in_the_model_accuses_nobody() -> None:
    assert Suspects().after_crash() == Suspects()
    assert Suspects().note() == ""


def test_a_shard_that_only_stood_by_is_excused() -> None:
    after = Suspects().holding([]).after_crash()
    assert after == Suspects(excused=1)


def test_one_accident_while_alone_convicts_nobody() -> None:
    accused = Suspects().holding([3, 4]).after_crash().holding([3]).after_crash()
    assert accused.alone == {3: 1, 4: 0}
    assert not accused.convicted
    assert accused.holding([3]).passed().alone == {4: 0}


def test_a_note_of_another_make_is_no_note() -> None:
    assert Suspects.from_note("{}!") == Suspects.from_note("") == Suspects()
