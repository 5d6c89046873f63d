"""The sides of benchmark A, each in a process of its own: stock, the stock pipeline on another runtime, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.child import Child, child
from benchmarks.memory import peak_memory
from benchmarks.runtimes import PACKAGES
from benchmarks.scale import say

STOCK, OURS = "stock pipeline", "Maskmill's worker classes"
Answer = dict[str, Any]
SPARE_BYTES = 2 * 2**30
"""Left to the rest of the machine."""


@dataclass(frozen=True)
class Work:
    """What each side does: a model's folder, image files, and how often the model runs alone over one of each size."""

    model: Path
    paths: Sequence[str]
    sizes: Sequence[str]
    forwards: int

    @property
    def model_images(self) -> int:
        """Images of which the model alone is measured."""
        return self.forwards * len(self.sizes)


@dataclass(frozen=True)
class Side:
    """One run of one side: images a second, its process's peak, and of the model alone; what stock kept."""

    name: str
    batch_size: int
    rate: float
    peak_bytes: int
    forward_rate: float
    forward_images: int
    kept: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)


def stock(work: Work, batch_sizes: Sequence[int], folder: Path, runtime: str | None = None) -> list[Side]:
    """The stock pipeline, on torch or another runtime; its maps go to the folder. Batches that do not fit are left out.

    Raises `RuntimeError` where the runtime is not installed, or cannot take the model.
    """
    name = STOCK if runtime is None else f"{STOCK} on {runtime}"
    with child("stock") as process:
        if runtime is None:
            process.ask("load", model=str(work.model), warm_up=None, max_bytes=_free_bytes())
        else:
            _load_on(process, runtime, work)
        forward = process.ask("forward", paths=work.sizes, repeats=work.forwards)
        tried = [_segment(process, name, work, size, folder, forward) for size in batch_sizes]
    return [side for side in tried if side]


def _load_on(process: Child, runtime: str, work: Work) -> None:
    if find_spec(PACKAGES[runtime]) is None:
        raise RuntimeError(f"{PACKAGES[runtime]} is not installed: `pip install {PACKAGES[runtime]} onnxscript`")
    with child("stock") as exporter:
        exporter.ask("export", model=str(work.model))
    process.ask("load", model=str(work.model), warm_up=None, runtime=runtime)


def _free_bytes() -> int:
    """Stock's mask head copies 256 channels at a quarter of the size for all 100 queries: batches may not fit."""
    return psutil.virtual_memory().available - SPARE_BYTES


def _segment(process: Child, name: str, work: Work, batch_size: int, folder: Path, forward: Answer) -> Side | None:
    with peak_memory(process.pid) as peak:
        answer = process.ask("segment", paths=work.paths, batch_size=batch_size, folder=str(folder))
    if "failed" in answer:
        say(f"{name}, batch size {batch_size}: {answer['failed']}")
        return None
    side = Side(
        name,
        batch_size,
        len(work.paths) / answer["seconds"],
        peak.bytes,
        forward["images"] / forward["seconds"],
        forward["images"],
        answer["kept"],
        answer["segments"],
    )
    _say(side)
    return side


def ours(work: Work, batch_sizes: Sequence[int], repeats: int, folder: Path) -> tuple[list[Side], int]:
    """The worker's classes with these batch sizes and the default one, which is told."""
    with child("ours") as process:
        default = process.ask("load", model=str(work.model), warm_up=work.sizes[-1])["batch_size"]
        forward = process.ask("forward", paths=work.sizes, batch_size=1, images=work.model_images)
        sides = [_our_side(process, work, size, repeats, folder, forward) for size in sorted({*batch_sizes, default})]
    return sides, default


def _our_side(process: Child, work: Work, batch_size: int, repeats: int, folder: Path, forward: Answer) -> Side:
    with peak_memory(process.pid) as peak:
        answers = [
            process.ask("segment", paths=work.paths, batch_size=batch_size, folder=str(folder)) for _ in range(repeats)
        ]
    seconds = float(np.median([answer["seconds"] for answer in answers]))
    side = Side(
        OURS,
        batch_size,
        len(work.paths) / seconds,
        peak.bytes,
        forward["images"] / forward["seconds"],
        forward["images"],
    )
    _say(side)
    return side


def _say(side: Side) -> None:
    say(f"{side.name}, batch size {side.batch_size}: {side.rate:.3f} images/s, alone {side.forward_rate:.3f}")
