"""The bitmap of done shards, as Redis keeps it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maskmill.ledger.bitmap import is_done, of_shards, shards_in


@given(st.lists(st.integers(0, 300), unique=True))
def test_shards_come_out_as_they_went_in_whatever_their_order(shards: list[int]) -> None:
    bits = of_shards(shards)
    assert list(shards_in(bits)) == sorted(shards)
    assert [shard for shard in range(320) if is_done(bits, shard)] == sorted(shards)
    assert len(bits) == (max(shards) // 8 + 1 if shards else 0)


def test_the_first_shard_is_the_highest_bit_of_the_first_byte() -> None:
    assert of_shards([0, 9]) == b"\x80\x40"
