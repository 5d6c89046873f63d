"""From values of any number type to 0 to 255. No rule here depends on a single pixel, and what was done is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.choices import Scale

AUTO_PERCENTILES = (2.0, 98.0)
"""Values without a declared white: floating-point, signed, and of more than 16 bits."""

SAMPLED = 2**22
"""Values of an image that percentiles are taken of: of a larger one every second, third… row and column."""

BLOCK = 2**20
"""Values that are converted at a time, as float64."""

LOW_CONTRAST = 16
"""Of 256: a picture that is spread over fewer has nearly no range."""


@dataclass(frozen=True)
class Samples:
    """What a file of more than 8 bits holds: (height, width) or (height, width, 3), in its own number type.

    `white` is the value that the format itself declares to be white (4095 of 12 bits), with 0 as black. `nodata` pixels
    become black. `inverted`: the file's 0 is white.
    """

    values: NDArray[Any]
    white: float | None = None
    nodata: float | None = None
    inverted: bool = False


def eight_bit(samples: Samples, scale: Scale) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The picture as 0 to 255, and which of its values became 0 and 255.

    By `auto`, whole ranges of 8 bits and more keep their high byte, as Pillow does for 16-bit PNG:
    65280 of 65535 is 255, not 254.
    """
    low, high = _range(samples, scale)
    bits = (samples.white or 0) + 1
    if scale == Scale() and samples.values.dtype.kind == "u" and bits >= 256 and math.log2(bits).is_integer():
        shown = (samples.values >> int(math.log2(bits) - 8)).astype(np.uint8)
    else:
        shown = _spread(samples.values, low, high)
    if samples.inverted:
        shown = 255 - shown
    if samples.nodata is not None:
        shown[samples.values == samples.nodata] = 0
    return shown, (low, high)


def is_flat(shown: NDArray[np.uint8]) -> bool:
    """Whether nearly all of a picture lies in a sixteenth of 0 to 255."""
    dark, bright = np.percentile(_sampled(shown), AUTO_PERCENTILES)
    return bool(bright - dark < LOW_CONTRAST)


def _range(samples: Samples, scale: Scale) -> tuple[float, float]:
    if scale.range:
        return scale.range
    if scale.percentiles is None and samples.white is not None:
        return 0.0, float(samples.white)
    some = _sampled(samples.values) if scale.percentiles != (0.0, 100.0) else samples.values
    some = some[_valid(some, samples.nodata)]
    if not some.size:
        return 0.0, 1.0
    low, high = np.percentile(some, scale.percentiles or AUTO_PERCENTILES, method="nearest")
    return float(low), float(high)


def _sampled(values: NDArray[Any]) -> NDArray[Any]:
    step = math.ceil(math.sqrt(values.size / SAMPLED)) or 1
    return values[::step, ::step]


def _valid(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.isfinite(values)
    return finite if nodata is None else finite & (values != nodata)


def _spread(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Linear between the two values, what is beyond them as black or white; NaN is black, an infinity an end.

    Values are halved first, so that the distance of the largest two floats is no infinity.
    """
    shown = np.empty(values.shape, np.uint8)
    span = max(high / 2 - low / 2, np.finfo(np.float64).tiny)
    rows = max(1, BLOCK // max(1, math.prod(values.shape[1:])))
    for first in range(0, len(shown), rows):
        with np.errstate(over="ignore", invalid="ignore"):
            fraction = (values[first : first + rows].astype(np.float64) / 2 - low / 2) / span
        shown[first : first + rows] = np.rint(np.clip(np.nan_to_num(fraction, nan=0.0), 0, 1) * 255)
    return shown
