"""The values that a user chooses between; apart from the records, which take long to build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Subtask(StrEnum):
    """The three kinds of segmentation that the transformers pipeline knows."""

    PANOPTIC = "panoptic"
    INSTANCE = "instance"
    SEMANTIC = "semantic"


class Dtype(StrEnum):
    """The dtype in which the model's weights are loaded and run."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
SCALE_WORDS = "auto, none, minmax, p2-p98 (or other percentiles), or LOW:HIGH as in 0:10000"


@dataclass(frozen=True)
class Scale:
    """Which values of an image of more than 8 bits become black and white.

    `auto`: the whole range of unsigned values of up to 16 bits, `p2-p98` of all others. `p2-p98`: these percentiles of
    the image. `minmax`: its lowest and highest value. `0:10000`: these two values. `none`: the values are 0 to 255.
    """

    range: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> Scale:
        """`p2-p98` is `Scale(percentiles=(2.0, 98.0))`; raises `ValueError` that names what there is."""
        words = {"auto": cls(), "none": cls(range=(0.0, 255.0)), "minmax": cls(percentiles=(0.0, 100.0))}
        if found := words.get(text):
            return found
        percentiles = re.fullmatch(rf"p({NUMBER})-p({NUMBER})", text, re.ASCII)
        values = re.fullmatch(rf"({NUMBER}):({NUMBER})", text, re.ASCII)
        found_both = percentiles or values
        low, high = map(float, found_both.groups()) if found_both else (0.0, 0.0)
        if not low < high < float("inf") or (percentiles and not 0 <= low < high <= 100):
            raise ValueError(f"'{text}' is no scale: write {SCALE_WORDS}")
        return cls(percentiles=(low, high)) if percentiles else cls(range=(low, high))
