"""The sides of benchmark A, each in a process of its own: stock, the stock pipeline on another runtime, and ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.child import Child, child
from benchmarks.memory import peak_memory
from benchmarks.runtimes import PACKAGES, is_exported
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
    runs: int = 1
    kept: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)


def stock(work: Work, batch_sizes: Sequence[int], folder: Path, runtime: str | None = None) -> list[Side]:
    """The stock pipeline, on torch or another runtime; its maps go to the folder.

    Of growing batch sizes the first one that does not fit is the last one tried.

    Raises `RuntimeError` where the runtime is not installed, or cannot take the model.
    """
    name = STOCK if runtime is None else f"{STOCK} on {runtime}"
    if runtime:
        _export(runtime, work.model)
    with child("stock") as process:
        process.ask("load", model=str(work.model), warm_up=None, max_bytes=_free_bytes(), runtime=runtime)
        forward = process.ask("forward", paths=work.sizes, repeats=work.forwards)
        tried = (_segment(process, name, work, size, folder, forward) for size in batch_sizes)
        return [side for side in takewhile(bool, tried) if side]


def _export(runtime: str, model: Path) -> None:
    """In a process of its own, whose memory is no runtime's."""
    if find_spec(PACKAGES[runtime]) is None:
        raise RuntimeError(f"{PACKAGES[runtime]} is not installed: `pip install {PACKAGES[runtime]} onnxscript`")
    if not is_exported(model):
        with child("stock") as process:
            process.ask("export", model=str(model))


def _free_bytes() -> int:
    """DETR's mask head copies 256 channels at a quarter of the size for all 100 queries: batches may not fit."""
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
        kept=answer["kept"],
        segments=answer["segments"],
    )
    _say(side)
    return side


class Ours:
    """The worker's classes, measured as often as asked; the medians count."""

    def __init__(self, process: Child, work: Work, folder: Path) -> None:
        self._process, self._work, self._folder = process, work, folder
        self.default: int = process.ask("load", model=str(work.model), warm_up=work.sizes[-1])["batch_size"]
        self._seconds: dict[int, list[float]] = {}
        self._peaks: dict[int, int] = {}
        self._forward_seconds: list[float] = []

    def measure(self, batch_sizes: Sequence[int], repeats: int) -> None:
        """The model alone, then each batch size so many times."""
        alone = {"paths": self._work.sizes, "batch_size": 1, "images": self._work.model_images}
        self._forward_seconds += [self._process.ask("forward", **alone)["seconds"] for _ in range(repeats)]
        for size in batch_sizes:
            whole = {"paths": self._work.paths, "batch_size": size, "folder": str(self._folder)}
            with peak_memory(self._process.pid) as peak:
                seconds = [self._process.ask("segment", **whole)["seconds"] for _ in range(repeats)]
            self._seconds.setdefault(size, []).extend(seconds)
            self._peaks[size] = max(self._peaks.get(size, 0), peak.bytes)
            _say(self.side(size))

    def side(self, batch_size: int) -> Side:
        """What was found at this batch size so far."""
        work, runs = self._work, self._seconds[batch_size]
        alone = work.model_images / median(self._forward_seconds)
        rate = len(work.paths) / median(runs)
        return Side(OURS, batch_size, rate, self._peaks[batch_size], alone, work.model_images, len(runs))


@contextmanager
def ours(work: Work, folder: Path) -> Iterator[Ours]:
    """The worker's classes, loaded and warm; what they make goes to the folder."""
    with child("ours") as process:
        yield Ours(process, work, folder)


def _say(side: Side) -> None:
    say(f"{side.name}, batch size {side.batch_size}: {side.rate:.3f} images/s, alone {side.forward_rate:.3f}")
