"""Label Studio's run lengths of a brush mask, made from runs in one pass.

The format has no text of its own; this is what `label_studio_sdk.converter.brush` reads and writes. A stream of bits:
32 for how many values there are (four for each pixel, RGBA), 5 for the bits of a value less one, four times 4 for the
bits of a length less one; then for each run a 1 (a 0 for a run of one), 2 bits that choose the length's bits, the
length less one, and the value. The SDK would bring a hundred packages, and goes through
each segment's pixels by itself, which takes seven times as long. Equal byte by byte:
`tests/interop/with_label_studio.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNELS = 4
VALUE_BITS = 8
LENGTH_BITS = np.array([3, 4, 8, 16])
LONGEST = 2**16

Ints = NDArray[np.int64]


def brush_rle(lengths: Sequence[int]) -> list[int]:
    """The bytes for runs along the rows, in pixels, of which the first is outside and may be 0 long.

    `brush_rle([1, 3])` is `[0, 0, 0, 16, 57, 27, 252, 96, 22, 255, 192]`: four pixels, the first one outside.
    """
    values = CHANNELS * np.asarray(lengths, np.int64)
    colours = 255 * (np.arange(len(values)) % 2)
    runs = values > 0
    codes, widths = _codes(*_pieces(values[runs], colours[runs]))
    return _packed(_header(int(values.sum())), codes, widths)


def _pieces(lengths: Ints, colours: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Runs in pieces that a length of 16 bits can say, and which are the rests of longer ones: those have 16, too."""
    many = -(-lengths // LONGEST)
    at = np.repeat(np.arange(len(lengths)), many)
    last = np.cumsum(many) - 1
    pieces = np.full(len(at), LONGEST)
    pieces[last] = lengths - (many - 1) * LONGEST
    return pieces, colours[at], many[at] > 1


def _codes(lengths: Ints, colours: Ints, long: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Each piece as a number, and how many bits it has."""
    kind = np.where(long, 3, np.searchsorted([8, 16, 256], lengths))
    bits = LENGTH_BITS[kind]
    repeated = (lengths > 1) | long
    code = ((repeated * 4 + kind) << bits) | (lengths - 1)
    return (code << VALUE_BITS) | colours, 3 + bits + VALUE_BITS


def _header(values: int) -> str:
    return f"{values:032b}{VALUE_BITS - 1:05b}" + "".join(f"{each - 1:04b}" for each in LENGTH_BITS.tolist())


def _packed(header: str, codes: Ints, widths: Ints) -> list[int]:
    """All bits in bytes; zeros fill the last one, or a whole one where none has to be filled."""
    ends = np.cumsum(widths)
    place = np.arange(int(ends[-1]) if len(ends) else 0)
    shift = np.repeat(ends, widths) - 1 - place
    bits = (np.repeat(codes, widths) >> shift & 1).astype(np.uint8)
    text = np.frombuffer(header.encode(), np.uint8) - ord("0")
    whole = np.concatenate([text, bits])
    packed = np.packbits(np.append(whole, np.zeros(8 - len(whole) % 8, np.uint8)))
    found: list[int] = packed.tolist()
    return found
