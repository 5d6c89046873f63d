"""The peers' whole job, from image file to stored masks: tuned on a few images, then run on all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.child import child
from benchmarks.memory import peak_memory
from benchmarks.peer_masks import Masks
from benchmarks.scale import say

NUMBERS = count()

Settings = Mapping[str, int]
"""Keyword arguments of the peer's `store`."""


@dataclass(frozen=True)
class Stored:
    """A peer's run: images and objects stored, wall seconds, its processes' peak, and its settings."""

    images: int
    objects: int
    seconds: float
    peak_bytes: int
    settings: Settings

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def described(self) -> str:
        """The settings in words."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.settings.items())


@dataclass(frozen=True)
class Peer:
    """One loaded peer of one or several processes; `store` takes paths, a key prefix, what masks to write, settings."""

    name: str
    pids: Sequence[int]
    store: Callable[..., Mapping[str, Any]]

    def run(self, paths: Sequence[str], settings: Settings, masks: Masks = "segments") -> Stored:
        """Segment and store the images."""
        with ExitStack() as stack:
            peaks = [stack.enter_context(peak_memory(pid)) for pid in self.pids]
            answer = self.store(paths=list(paths), prefix=f"peer-{next(NUMBERS)}", masks=masks, **settings)
        stored = Stored(len(paths), answer["objects"], answer["seconds"], sum(peak.bytes for peak in peaks), settings)
        say(f"{self.name}: {stored.rate:.1f} images/s, {stored.objects} objects ({masks}; {stored.described})")
        return stored

    def tuned(self, paths: Sequence[str], choices: Sequence[Sequence[Settings]], start: Settings) -> Settings:
        """The settings with which the peer is fastest on these images.

        One group of changes after the other, each change tried on top of the best settings so far.
        """
        best = self.run(paths, start)
        for group in choices:
            tried = [dict(best.settings) | dict(change) for change in group]
            runs = [self.run(paths, settings) for settings in tried if settings != best.settings]
            best = max([best, *runs], key=lambda run: run.rate)
        return best.settings


@contextmanager
def stock(
    model: str, warm_up: str, environment: Mapping[str, str], name: str, number: int = 1, device: str = "cpu"
) -> Iterator[Peer]:
    """The stock pipeline, loaded and warm, in so many processes, which share out the paths and the cores."""
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // number))} if number > 1 else {}
    with ExitStack() as stack:
        processes = [stack.enter_context(child("stock", {**environment, **threads})) for _ in range(number)]
        for process in processes:
            process.ask("load", model=model, warm_up=warm_up, device=device)
        pool = stack.enter_context(ThreadPoolExecutor(number))

        def store(paths: Sequence[str], prefix: str, **arguments: Any) -> Mapping[str, Any]:
            shares = [
                pool.submit(process.ask, "store", paths=paths[index::number], prefix=f"{prefix}/{index}", **arguments)
                for index, process in enumerate(processes)
            ]
            answers = [share.result() for share in shares]
            return {
                "objects": sum(answer["objects"] for answer in answers),
                "seconds": max(answer["seconds"] for answer in answers),
            }

        yield Peer(name, [process.pid for process in processes], store)


@contextmanager
def ray_data(name: str, model: str, environment: Mapping[str, str], cpus: int) -> Iterator[Peer]:
    """Ray Data on this machine; its actors load the model anew in each run, before the clock starts."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,  # short: sockets are in it
        child("ray_peer", environment) as process,
    ):
        process.ask("start", cpus=cpus, folder=folder)
        try:
            yield Peer(name, [process.pid], lambda **arguments: process.ask("store", model=model, **arguments))
        finally:
            process.ask("stop")
