from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from maskmill.images.entries import Entry
from maskmill.jobs.submit import images_in_shard, runs


def test_shards_of_a_small_job_have_the_size_that_was_asked_for() -> None:
    assert {images_in_shard(index, 128) for index in range(64)} == {128}


def test_later_shards_are_twice_and_then_four_times_as_large_and_no_larger() -> None:
    assert [images_in_shard(index, 128) for index in (64, 127, 128, 100_000)] == [256, 256, 512, 512]


def lines_of(entries: Sequence[Entry]) -> list[str]:
    """Of three entries two, as if each third were left out."""
    return [entry for entry in entries if isinstance(entry, str) and int(entry) % 3]


@given(st.integers(0, 500), st.integers(1, 3), st.none() | st.integers(0, 400))
def test_every_line_is_in_one_shard_in_order(number: int, shard_size: int, limit: int | None) -> None:
    entries = [str(n) for n in range(number)]
    found = list(runs(lines_of, entries, shard_size, limit))
    assert [line for run in found for line in run] == lines_of(entries)[:limit]
    assert [len(run) for run in found[:-1]] == [images_in_shard(n, shard_size) for n in range(len(found[:-1]))]
    assert all(found)
