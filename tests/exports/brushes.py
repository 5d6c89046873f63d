"""Label Studio's run lengths read again, by their description alone: a reader that shares nothing with the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def painted(rle: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The H × W mask: alpha is 255 inside and 0 outside, and the colours with it."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def take(many: int) -> int:
        nonlocal at
        at += many
        return int(bits[at - many : at], 2)

    values, size = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    found: list[int] = []
    while len(found) < values:
        repeated = take(1)
        many = take(lengths[take(2)]) + 1
        found += [take(size)] * many if repeated else [take(size) for _ in range(many)]
    assert len(found) == values == height * width * 4
    assert len(bits) - at <= 8, "nothing but filling is left"
    pixels = np.array(found).reshape(height, width, 4)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 3] == 255
