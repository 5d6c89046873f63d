"""B. Small images on disk to stored masks: a job on one warm worker, against three ways without a queue."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import fleet, peers
from benchmarks.images import SIZES, linked, small_images
from benchmarks.peers import Peer, Settings, Stored
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill.models.files import resolve
from maskmill.parameters import DEMO
from maskmill_producer.embedded import Servers

TITLE = "The demo model over small images on disk, reference to stored mask"
IMAGES = Extent(2000, quick=100)
TUNING_IMAGES = Extent(200, quick=0)
"""None: the peers run with the settings that they begin with."""

MAP_IMAGES = Extent(500, quick=25)
WORKERS = 2
"""Of ours, beside one; and processes of the peer that is run twice."""
WARM_UP_IMAGES = Extent(768, quick=64)
"""Enough shards for each worker to get some. Other names than the job's: its masks are new, as those of the peers."""

IN_A_LOOP = "stock pipeline in a loop"
WITH_LOADER = "stock pipeline, DataLoader and upload threads"
TWICE = f"{WITH_LOADER}, in {WORKERS} processes"
RAY_DATA = "Ray Data"
BARS = {IN_A_LOOP: 4.0, WITH_LOADER: 2.8, RAY_DATA: 2.8}
MEMORY_BAR = 1.3

LOOP: Settings = {"batch_size": 1, "num_workers": 0, "threads": 0}
LOADER: Settings = {"batch_size": 8, "num_workers": 1, "threads": 8}
LOADER_CHOICES = (
    [{"num_workers": 0}, {"num_workers": 2}],
    [{"batch_size": 1}, {"batch_size": 4}, {"batch_size": 16}],
    [{"threads": 2}, {"threads": 4}, {"threads": 16}],
)
RAY: Settings = {"actors": 2, "torch_threads": 1, "batch_size": 64, "model_batch_size": 4, "threads": 4}
RAY_CHOICES = (
    [{"actors": 1, "torch_threads": 2}],
    [{"model_batch_size": 1}, {"model_batch_size": 8}],
    [{"batch_size": 16}],
    [{"threads": 2}, {"threads": 8}],
)

RAY_CPUS = 4
"""Slots, not cores: with as many actors as cores, Ray Data must have slots left for its own tasks."""


def run() -> Result:
    """Ours first, then each peer alone on the machine, all on one S3 server."""
    paths = [str(path) for path in small_images(IMAGES.now)]
    with fleet.servers() as servers:
        ours = Ours(_ours(paths, servers), _ours(paths, servers, forward_threads=1), _ours(paths, servers, WORKERS))
        runs = {
            **_stock(paths, servers, IN_A_LOOP, (), LOOP),
            **_stock(paths, servers, WITH_LOADER, LOADER_CHOICES, LOADER),
            **_ray(paths, servers),
            **_stock(paths, servers, TWICE, LOADER_CHOICES, LOADER, processes=WORKERS),
        }
    return _result(ours, runs)


@dataclass(frozen=True)
class Ours:
    """One worker as it is started by default, one with one batch in the model at a time, and several."""

    worker: fleet.Finished
    one_at_a_time: fleet.Finished
    workers: fleet.Finished


Runs = dict[tuple[str, str], Stored]
"""By peer and kind of masks."""

Choices = Sequence[Sequence[Settings]]


def _ours(paths: list[str], servers: Servers, workers: int = 1, **settings: Any) -> fleet.Finished:
    with tempfile.TemporaryDirectory() as folder, fleet.worker(servers, workers, **settings) as running:
        linked([Path(path) for path in paths], Path(folder), WARM_UP_IMAGES.now)
        running.run([folder], model=DEMO)
        finished = running.run(paths, model=DEMO)
    say(f"ours, workers: {workers}, {settings or 'default settings'}: {finished.rate:.1f} images/s")
    return finished


def _stock(
    paths: list[str], servers: Servers, name: str, choices: Choices, start: Settings, processes: int = 1
) -> Runs:
    with peers.stock(resolve(DEMO), paths[0], servers.environment(), name, processes) as peer:
        return _both(peer, paths, choices, start)


def _ray(paths: list[str], servers: Servers) -> Runs:
    with peers.ray_data(RAY_DATA, resolve(DEMO), servers.environment(), RAY_CPUS) as peer:
        return _both(peer, paths, RAY_CHOICES, RAY)


def _both(peer: Peer, paths: list[str], choices: Choices, start: Settings) -> Runs:
    """With the best settings: all images as the pipeline returns them, and some with one map an image."""
    tuning = paths[: TUNING_IMAGES.now]
    settings = peer.tuned(tuning, choices, start) if choices and tuning else start
    some = paths[: MAP_IMAGES.now]
    return {
        (peer.name, "segments"): peer.run(paths, settings),
        (peer.name, "map"): peer.run(some, settings, "map"),
    }


def _result(ours: Ours, runs: Runs) -> Result:
    worker, workers = ours.worker, ours.workers
    several = f"{WORKERS} workers, `maskmill-worker --devices cpu --workers-per-device {WORKERS}`"
    return Result(
        figures=[
            _ours_figure(worker, "1 worker, `maskmill-worker`"),
            _ours_figure(ours.one_at_a_time, "1 worker, `MASKMILL_FORWARD_THREADS=1 maskmill-worker`"),
            _ours_figure(workers, several),
            *(_figure(name, masks, stored) for (name, masks), stored in runs.items()),
        ],
        comparisons=[
            *(
                Comparison(name=f"images/s, ours ÷ {name}", value=worker.rate / runs[name, "segments"].rate, bar=bar)
                for name, bar in BARS.items()
            ),
            Comparison(
                name="peak memory, two batches at a time ÷ one",
                value=worker.peak_bytes / ours.one_at_a_time.peak_bytes,
                bar=MEMORY_BAR,
                sense="at most",
            ),
        ],
        notes=[
            f"Ours ÷ {_ratios(worker, runs, 'segments', [TWICE])}.",
            f"Two batches in the model at a time ÷ one: {worker.rate / ours.one_at_a_time.rate:.2f} × the images/s.",
            f"{WORKERS} workers ÷ {_ratios(workers, runs, 'segments', [*BARS, TWICE])}.",
            f"One segment map an image on the peers' side too: ours ÷ {_ratios(worker, runs, 'map', [*BARS, TWICE])}.",
            _how(),
        ],
    )


def _ours_figure(finished: fleet.Finished, how: str) -> Figure:
    sizes = f"{len(SIZES)} sizes from {SIZES[0][0]}×{SIZES[0][1]} to 320×240"
    return Figure(
        name=f"Maskmill, {how}",
        value=finished.rate,
        unit="images/s",
        settings=f"{finished.images} JPEG scenes of {sizes}; default settings; submit to manifest, workers warm; "
        "one segment map with its metadata an image",
        peak_bytes=finished.peak_bytes,
    )


def _figure(name: str, masks: str, stored: Stored) -> Figure:
    what = "a PNG a segment, as the pipeline returns them" if masks == "segments" else "one segment map an image"
    return Figure(
        name=f"{name}: {what}",
        value=stored.rate,
        unit="images/s",
        settings=f"{stored.images} images, {stored.objects} objects; {stored.described}",
        peak_bytes=stored.peak_bytes,
    )


def _ratios(ours: fleet.Finished, runs: Runs, masks: str, names: Iterable[str]) -> str:
    return "; ".join(f"{name}: {ours.rate / runs[name, masks].rate:.2f} ×" for name in names)


def _how() -> str:
    tuned = f"the best found on the first {TUNING_IMAGES.now} images, one setting after the other"
    return (
        f"{os.cpu_count()} cores, SeaweedFS on the same machine. The peers' settings are "
        f"{tuned if TUNING_IMAGES.now else 'not tuned'}; their clocks start with the "
        f"model loaded and warm (Ray {version('ray')}: the last actor), and they handle no failures. "
        "Peers' memory is without the S3 server, ours without server and submitting client."
    )
