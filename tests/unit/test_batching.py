from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill_worker.model.batching import Batches

unhurried = settings(deadline=None)  # the tests' machine may be busy

Item = tuple[int, str | None]
"""Its place in the stream, and its shape."""

T = TypeVar("T")

items = st.lists(st.sampled_from(["a", "b", "c", "d", None])).map(lambda shapes: list(enumerate(shapes)))
sizes = st.integers(1, 6)
look_aheads = st.integers(1, 12)


def by_shape(
    stream: Iterable[T], shape_of: Callable[[T], Hashable], batch_size: Callable[[T], int], look_ahead: int
) -> list[list[T]]:
    """All batches of a stream, in the order in which they leave."""
    batches = Batches(shape_of, batch_size, look_ahead)
    return [batch for item in stream for batch in batches.add(item)] + batches.rest()


def batches_of(stream: list[Item], batch_size: int, look_ahead: int) -> list[list[Item]]:
    return by_shape(stream, lambda item: item[1], lambda _: batch_size, look_ahead)


def of_shapes(shapes: str) -> list[Item]:
    return list(enumerate(shapes))


# For every stream


@unhurried
@given(items, sizes, look_aheads)
def test_nothing_is_lost_or_repeated(stream: list[Item], batch_size: int, look_ahead: int) -> None:
    batches = batches_of(stream, batch_size, look_ahead)
    assert sorted(item[0] for batch in batches for item in batch) == list(range(len(stream)))


@unhurried
@given(items, sizes, look_aheads)
def test_every_batch_is_of_one_shape_and_bounded(stream: list[Item], batch_size: int, look_ahead: int) -> None:
    for batch in batches_of(stream, batch_size, look_ahead):
        assert len({shape for _, shape in batch}) == 1
        assert 1 <= len(batch) <= batch_size


@unhurried
@given(items, sizes, look_aheads)
def test_what_has_no_shape_runs_alone(stream: list[Item], batch_size: int, look_ahead: int) -> None:
    batches = batches_of(stream, batch_size, look_ahead)
    assert all(len(batch) == 1 for batch in batches if batch[0][1] is None)


@unhurried
@given(items, sizes, look_aheads)
def test_items_of_one_shape_keep_their_order(stream: list[Item], batch_size: int, look_ahead: int) -> None:
    batched = [item for batch in batches_of(stream, batch_size, look_ahead) for item in batch]
    for shape in {shape for _, shape in stream}:
        assert [item for item in batched if item[1] == shape] == [item for item in stream if item[1] == shape]


@unhurried
@given(items, sizes, look_aheads)
def test_no_more_than_look_ahead_items_are_held_back(stream: list[Item], batch_size: int, look_ahead: int) -> None:
    batches = Batches[Item](lambda item: item[1], lambda _: batch_size, look_ahead)
    held = 0
    for item in stream:
        held += 1 - sum(len(batch) for batch in batches.add(item))
        assert 0 <= held < max(look_ahead, 1)
    assert sum(len(batch) for batch in batches.rest()) == held


# What leaves when


def test_a_full_batch_leaves_at_once() -> None:
    batches = Batches(str, lambda _: 2, 100)
    assert [batches.add(item) for item in "aba"] == [[], [], [["a", "a"]]]


def test_batches_may_be_used_again_after_the_rest() -> None:
    batches = Batches(str, lambda _: 2, 100)
    batches.add("a")
    assert [batches.rest(), batches.rest(), batches.add("a")] == [[["a"]], [], []]


def test_an_item_waits_for_no_more_than_look_ahead_items() -> None:
    assert by_shape("abcbd", str, lambda _: 3, 4) == [["a"], ["b", "b"], ["c"], ["d"]]


def test_a_rare_shape_does_not_wait_behind_common_ones() -> None:
    batches = by_shape("a" + "b" * 100, str, lambda _: 4, 8)
    assert batches.index(["a"]) == 1


def test_a_batch_is_as_large_as_its_items_allow() -> None:
    assert by_shape("abab", str, {"a": 1, "b": 2}.__getitem__, 100) == [["a"], ["a"], ["b", "b"]]


def test_what_is_left_leaves_at_the_end() -> None:
    assert by_shape("aab", str, lambda _: 4, 100) == [["a", "a"], ["b"]]


def test_a_stream_of_one_shape_is_cut_into_full_batches() -> None:
    assert [len(batch) for batch in by_shape("a" * 10, str, lambda _: 4, 16)] == [4, 4, 2]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_empty_stream_gives_no_batch(batch_size: int) -> None:
    assert by_shape("", str, lambda _: batch_size, 4) == []


def test_mixed_shapes_still_fill_batches_within_the_look_ahead() -> None:
    batches = batches_of(of_shapes("abcd" * 8), batch_size=4, look_ahead=16)
    assert [len(batch) for batch in batches] == [4] * 8
