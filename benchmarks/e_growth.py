"""E. Jobs of 1k, 10k and 100k images with a model of next to no work: rate and memory as a job grows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.images import linked, small_images
from benchmarks.memory import peak_memory
from benchmarks.models import STUB_SIDE, stub
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say

TITLE = "Growth: jobs of 1,000, 10,000 and 100,000 images"
SIZES = Extent((1_000, 10_000, 100_000), quick=(200, 400, 1_200))
BASE_RUNS = Extent(3, quick=2)
"""Runs of the smallest job, which takes seconds; their median counts."""

BASE_IMAGES = 64
RATE_BAR = 0.95
MEMORY_BAR = 1.05


@dataclass(frozen=True)
class Grown:
    """One job: its rate, and peak and final resident bytes of the worker's processes and of the client."""

    images: int
    seconds: float
    worker_peak: int
    worker_end: int
    client_peak: int
    client_end: int

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def run() -> Result:
    """One worker for all jobs, smallest first, so that whatever it keeps adds up; a new client for each."""
    model = str(stub())
    with tempfile.TemporaryDirectory() as folder, fleet.servers() as servers, fleet.worker(servers) as worker:
        trees = [_tree(Path(folder) / str(size), size) for size in SIZES.now]
        _job(worker, model, trees[0])
        base = [_job(worker, model, trees[0]) for _ in range(BASE_RUNS.now)]
        grown = [_job(worker, model, tree) for tree in trees[1:]]
    return _result(_median(base), grown)


def _tree(folder: Path, images: int) -> str:
    """A folder of `images` distinct names for a few tiny files."""
    tiny = _tiny_images(folder.with_name("tiny"))
    linked(tiny, folder, images)
    return str(folder)


def _tiny_images(folder: Path) -> list[Path]:
    if not folder.exists():
        folder.mkdir()
        _shrink(small_images(BASE_IMAGES), folder)
    return sorted(folder.iterdir())


def _shrink(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.resize((STUB_SIDE, STUB_SIDE)).save(folder / path.name)


def _job(worker: fleet.Fleet, model: str, tree: str) -> Grown:
    with (
        child("submitter", worker.environment) as client,
        peak_memory(worker.process.pid) as worker_peak,
        peak_memory(client.pid) as client_peak,
    ):
        answer = client.ask("run", sources=[tree], model=model)
        worker_end = _resident_bytes(worker.process.pid)
    job = Grown(
        answer["images"], answer["seconds"], worker_peak.bytes, worker_end, client_peak.bytes, answer["rss_bytes"]
    )
    say(f"{job.images:,} images: {job.rate:.1f} images/s, worker {worker_end >> 20} MiB, client {job.client_end >> 20}")
    return job


def _resident_bytes(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


def _median(runs: list[Grown]) -> Grown:
    """The run of median rate, with the highest peaks of all."""
    middle = sorted(runs, key=lambda each: each.rate)[len(runs) // 2]
    return Grown(
        middle.images,
        middle.seconds,
        max(each.worker_peak for each in runs),
        middle.worker_end,
        max(each.client_peak for each in runs),
        middle.client_end,
    )


def _result(base: Grown, grown: list[Grown]) -> Result:
    largest = grown[-1]
    return Result(
        figures=[figure for job in (base, *grown) for figure in _figures(job)],
        comparisons=[
            *(
                Comparison(name=f"images/s, {job.images:,} ÷ {base.images:,}", value=job.rate / base.rate, bar=RATE_BAR)
                for job in grown
            ),
            _memory("worker", largest.worker_peak / base.worker_peak, base, largest),
            _memory("client", largest.client_peak / base.client_peak, base, largest),
        ],
        notes=[f"Resident at the end: {'; '.join(map(_at_end, (base, *grown)))}."],
    )


def _figures(job: Grown) -> tuple[Figure, Figure]:
    how = (
        f"a SegFormer of {STUB_SIDE}×{STUB_SIDE} pixels with 4 to 8 channels, JPEG files as hard links, default "
        "settings, submit to manifest; one worker for all jobs, memory of its processes"
    )
    return (
        Figure(
            name=f"{job.images:,} images",
            value=job.rate,
            unit="images/s",
            settings=how,
            peak_bytes=job.worker_peak,
        ),
        Figure(
            name=f"{job.images:,} images: client",
            value=job.seconds,
            unit="s",
            settings="the process that submits and waits, new for each job",
            peak_bytes=job.client_peak,
        ),
    )


def _memory(who: str, ratio: float, base: Grown, largest: Grown) -> Comparison:
    name = f"peak memory of the {who}, {largest.images:,} ÷ {base.images:,}"
    return Comparison(name=name, value=ratio, bar=MEMORY_BAR, sense="at most")


def _at_end(job: Grown) -> str:
    return f"{job.images:,} images, worker {job.worker_end >> 20} MiB, client {job.client_end >> 20} MiB"
