r"""Shards that are done, as Redis keeps them: shard 0 is the highest bit of the first byte.

Example: of_shards([0, 9]) == b"\x80\x40"; shards_in(b"\x80\x40") gives 0 and 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def of_shards(shards: Iterable[int]) -> bytes:
    """The bitmap in which the bits of these shards are set."""
    bits = bytearray()
    for shard in shards:
        if len(bits) <= shard >> 3:
            bits.extend(bytes((shard >> 3) + 1 - len(bits)))
        bits[shard >> 3] |= 0x80 >> (shard & 7)
    return bytes(bits)


def shards_in(bits: bytes) -> Iterator[int]:
    """The shards whose bits are set, ascending."""
    for index, byte in enumerate(bits):
        if byte:
            yield from (8 * index + bit for bit in range(8) if byte & (0x80 >> bit))


def is_done(bits: bytes, shard: int) -> bool:
    """Whether the bit of the shard is set; those behind the end are not."""
    return shard >> 3 < len(bits) and bool(bits[shard >> 3] & (0x80 >> (shard & 7)))
