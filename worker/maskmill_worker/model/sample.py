"""One image on its way through a worker: the task to read it, and the sample that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from maskmill.errors import ImageError
from maskmill.schema import ImageWarning, Reference
from maskmill_worker.model.device_errors import raise_if_lost
from maskmill_worker.model.forward import Inputs

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

    `version` is that of the image's file, see `maskmill.images.fetch`; `scale` and `warnings` are the outcome's.
    """

    task: Task
    inputs: Inputs = field(default_factory=dict)
    width: int = 0
    height: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    error: ImageError | None = None
    version: str = ""
    scale: tuple[float, float] | None = None
    warnings: tuple[ImageWarning, ...] = ()
    unchanged: bool = False

    def pin_memory(self) -> Sample:
        """The same with page-locked tensors, which CUDA copies without waiting; raises `DeviceLost`."""
        try:
            for name, value in self.inputs.items():
                if torch.is_tensor(value):
                    self.inputs[name] = value.pin_memory()
        except Exception as error:
            raise_if_lost(error)
            raise
        return self
