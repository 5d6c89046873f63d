"""One image on its way through a worker: the task to read it, and the sample that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from maskmill.errors import ImageError
from maskmill.schema import Reference
from maskmill_worker.model.forward import Inputs

INLINE_BYTES = 2**20
"""Smaller tensors travel in the message itself: handing over a shared-memory file costs 1 to 2 ms of both processes."""

Key: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """One reference to load: the `index`-th of the shard. Not if its image is still in the version that is `known`."""

    shard: int
    index: int
    reference: Reference
    known: str | None = None

    @property
    def key(self) -> Key:
        """Shard and index: unique within the job."""
        return self.shard, self.index


@dataclass(frozen=True)
class Sample:
    """A task with its tensors, or with the error that it ended with, or `unchanged`; wall `seconds` by stage.

    `version` is that of the image's file, see `maskmill.images.fetch`.
    """

    task: Task
    inputs: Inputs = field(default_factory=dict)
    width: int = 0
    height: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    error: ImageError | None = None
    version: str = ""
    unchanged: bool = False

    def packed(self) -> Sample:
        """The same with its small tensors as arrays, which pickle into the message."""
        return replace(self, inputs={name: _packed(value) for name, value in self.inputs.items()})

    def unpacked(self) -> Sample:
        """The same with its arrays as tensors again."""
        inputs = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in self.inputs.items()}
        return replace(self, inputs=inputs)

    def pin_memory(self) -> Sample:
        """The same with page-locked tensors, which CUDA copies without waiting."""
        for name, value in self.inputs.items():
            if torch.is_tensor(value):
                self.inputs[name] = value.pin_memory()
        return self


def _packed(value: Any) -> Any:
    if not torch.is_tensor(value) or value.nbytes > INLINE_BYTES or value.dtype is torch.bfloat16:
        return value  # NumPy has no bfloat16
    return value.numpy()
