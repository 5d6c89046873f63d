"""B. Small images on disk to stored masks: a job on one warm worker, against three ways without a queue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version

from benchmarks import fleet, peers
from benchmarks.images import SIZES, small_images
from benchmarks.peers import Peer, Settings, Stored
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import say, scaled
from maskmill.parameters import DEMO
from producer.embedded import Servers
from worker.model_files import resolve

TITLE = "The demo model over small images on disk, reference to stored mask"
IMAGES = 2000
TUNING_IMAGES = 200
MAP_IMAGES = 500
WARM_UP_IMAGES = 64
LOOP_BAR, LOADER_BAR, RAY_BAR = 3.0, 2.0, 2.0

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
    paths = [str(path) for path in small_images(scaled(IMAGES, 16))]
    with fleet.servers() as servers:
        with fleet.worker(servers) as worker:
            worker.run(paths[: scaled(WARM_UP_IMAGES, 8)], model=DEMO)
            ours = worker.run(paths, model=DEMO)
        say(f"ours: {ours.rate:.1f} images/s")
        runs = {
            **_stock(paths, servers, "stock pipeline in a loop", (), LOOP),
            **_stock(paths, servers, "stock pipeline, DataLoader and upload threads", LOADER_CHOICES, LOADER),
            **_ray(paths, servers),
        }
    return _result(ours, runs)


Runs = dict[tuple[str, str], Stored]
"""By peer and kind of masks."""

Choices = Sequence[Sequence[Settings]]


def _stock(paths: list[str], servers: Servers, name: str, choices: Choices, start: Settings) -> Runs:
    with peers.stock(resolve(DEMO), paths[0], servers.environment(), name) as peer:
        return _both(peer, paths, choices, start)


def _ray(paths: list[str], servers: Servers) -> Runs:
    with peers.ray_data(resolve(DEMO), servers.environment(), RAY_CPUS) as peer:
        return _both(peer, paths, RAY_CHOICES, RAY)


def _both(peer: Peer, paths: list[str], choices: Choices, start: Settings) -> Runs:
    """With the best settings: all images as the pipeline returns them, and some with one map an image."""
    settings = peer.tuned(paths[: scaled(TUNING_IMAGES, 16)], choices, start) if choices else start
    some = paths[: scaled(MAP_IMAGES, 16)]
    return {
        (peer.name, "segments"): peer.run(paths, settings),
        (peer.name, "map"): peer.run(some, settings, "map"),
    }


def _result(ours: fleet.Finished, runs: Runs) -> Result:
    bars = dict(zip(dict.fromkeys(name for name, _ in runs), (LOOP_BAR, LOADER_BAR, RAY_BAR), strict=True))
    sizes = f"{len(SIZES)} sizes from {SIZES[0][0]}×{SIZES[0][1]} to 320×240"
    return Result(
        figures=[
            Figure(
                name="Maskmill, one worker",
                value=ours.rate,
                unit="images/s",
                settings=f"{ours.images} JPEG scenes of {sizes}; default settings; submit to manifest, worker warm; "
                "one segment map with its metadata an image",
                peak_bytes=ours.peak_bytes,
            ),
            *(_figure(name, masks, stored) for (name, masks), stored in runs.items()),
        ],
        comparisons=[
            Comparison(name=f"images/s, ours ÷ {name}", value=ours.rate / runs[name, "segments"].rate, bar=bar)
            for name, bar in bars.items()
        ],
        notes=[_one_map(ours, runs, list(bars)), _how(runs)],
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


def _one_map(ours: fleet.Finished, runs: Runs, names: list[str]) -> str:
    ratios = ", ".join(f"{ours.rate / runs[name, 'map'].rate:.2f} × {name}" for name in names)
    return f"With one segment map an image on the peers' side too, ours is {ratios}."


def _how(runs: Runs) -> str:
    images = next(iter(runs.values())).images
    return (
        f"{os.cpu_count()} cores, SeaweedFS on the same machine. The peers' settings are the best found on the first "
        f"{min(images, scaled(TUNING_IMAGES, 16))} images, one setting after the other; their clocks start with the "
        f"model loaded and warm (Ray {version('ray')}: the last actor), and they handle no failures. "
        "Peers' memory is without the S3 server, ours without server and submitting client."
    )
