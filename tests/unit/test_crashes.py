"""Which image ended a process: for any images that do, each is found to blame and no other is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maskmill_worker.shards.crashes import CrashNote

IMAGES = 24


def attempt(note: CrashNote, batch_size: int, poison: set[int], done: set[int]) -> tuple[CrashNote, bool]:
    """One process that works on a shard until it ends, or dies with a poisoned image in the model."""
    left = [index for index in range(IMAGES) if index not in note.crashing and index not in done]
    alone = [[index] for index in left if index in note.alone]
    others = [index for index in left if index not in note.alone]
    batches = alone + [others[first : first + batch_size] for first in range(0, len(others), batch_size)]
    for batch in batches:
        note = CrashNote.from_text(note.entering(batch).text())
        if poison & set(batch):
            return note, False
        note = note.passed()
        done |= set(batch)
    return note, True


@given(poison=st.sets(st.integers(0, IMAGES - 1), max_size=6), batch_size=st.integers(1, 8))
def test_exactly_the_poisoned_are_to_blame_after_three_crashes_each_at_most(poison: set[int], batch_size: int) -> None:
    note, crashes, done = CrashNote(), 0, set[int]()
    while True:
        note, ended = attempt(note, batch_size, poison, done)
        if ended:
            break
        crashes += 1
        assert crashes <= 3 * len(poison)
        assert note.explains_crash
        note = note.after_crash()
    assert set(note.crashing) == poison
    assert done == set(range(IMAGES)) - poison


def test_a_process_that_dies_with_nothing_in_the_model_blames_nobody() -> None:
    assert not CrashNote().explains_crash
    assert CrashNote().after_crash() == CrashNote()
    assert CrashNote().text() == ""


def test_a_shard_without_images_in_the_model_is_explained_by_those_of_others() -> None:
    other = CrashNote().entering([], with_others=True)
    assert other.explains_crash
    assert other.after_crash() == CrashNote()
    assert not other.at_rest().explains_crash


def test_one_accident_while_alone_is_no_blame() -> None:
    after = CrashNote().entering([3, 4]).after_crash().entering([3]).after_crash()
    assert after.alone == {3: 1, 4: 0}
    assert not after.crashing
    assert after.entering([3]).passed() == CrashNote(alone={4: 0})


def test_the_only_image_of_its_shard_beside_those_of_others_was_not_alone() -> None:
    after = CrashNote().entering([3], with_others=True).after_crash()
    assert after == CrashNote(alone={3: 0})


def test_a_note_of_another_make_is_no_note() -> None:
    assert CrashNote.from_text("{}!") == CrashNote.from_text("") == CrashNote()
