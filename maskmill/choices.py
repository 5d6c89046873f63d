"""The values that a user chooses between; apart from the records, which take long to build."""

from __future__ import annotations

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
