"""C. A whole job, against the same model alone on tensors that lie ready in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.images import benchmark_photographs, linked
from benchmarks.memory import peak_memory
from benchmarks.models import detr
from benchmarks.processor_time import described, processor_time
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import say, scaled

TITLE = "Whole job against the model alone on ready tensors"
WORKERS = 2
"""On a CPU, each operation of a model waits for the thread whose core does something else for a moment: workers with a
share of the cores each wait less than one with all. So the bar is theirs, and the model alone runs as they do."""
CASES = (((640, 1066), (WORKERS,)), ((480, 800), (WORKERS,)), ((320, 533), (WORKERS, 1)))
"""Shortest and longest edge of the images that the model sees, and the workers of each job. What an image costs beside
the model grows more slowly than the model's time, so the sizes show how much it counts."""
SHARD_SIZE = 8
SHARDS = 48
WARM_UP_SHARDS = 3 * WORKERS
ALONE_IMAGES = 64
BAR = 0.95


def run() -> Result:
    """All sizes; the model alone before, between and after the jobs, as the machine may slow down meanwhile."""
    results = [_at(shortest, longest, layouts) for (shortest, longest), layouts in CASES]
    return Result(
        figures=[figure for result in results for figure in result.figures],
        comparisons=[comparison for result in results for comparison in result.comparisons],
        notes=[
            "DETR-ResNet-50 panoptic; random weights, about 8 of 100 queries pass 0.9.",
            f"{WORKERS} workers are `maskmill-worker --devices cpu --workers-per-device {WORKERS}`.",
            *(note for result in results for note in result.notes),
        ],
    )


def _at(shortest: int, longest: int, layouts: Sequence[int]) -> Result:
    model = str(detr({"shortest_edge": shortest, "longest_edge": longest}))
    with tempfile.TemporaryDirectory() as folder:
        photographs = benchmark_photographs(Path(folder))
        warm_up, sources = (str(Path(folder) / name) for name in ("warm-up", "links"))
        linked(photographs, Path(warm_up), scaled(SHARD_SIZE) * WARM_UP_SHARDS)
        linked(photographs, Path(sources), scaled(SHARD_SIZE) * SHARDS)
        paths = [str(path) for path in photographs]
        alone, jobs = [_alone(model, paths)], []
        for workers in layouts:
            jobs.append(_job(model, workers, warm_up, sources))
            alone.append(_alone(model, paths))
    best = fmean(figure.value for figure in alone)
    name = f"edge {shortest}: images/s, {WORKERS} workers' job ÷ model alone"
    return Result(
        figures=[_named(figure, shortest) for figure in (*jobs, *alone)],
        comparisons=[Comparison(name=name, value=jobs[0].value / best, bar=BAR)],
        notes=[
            f"Edge {shortest}: the model alone takes all cores' {1000 * (os.cpu_count() or 1) / best:.0f} ms an image.",
            *(
                f"Edge {shortest}: one worker with all cores reaches {job.value / best:.3f} of the model alone."
                for job in jobs[1:]
            ),
        ],
    )


def _named(figure: Figure, shortest: int) -> Figure:
    return figure.model_copy(update={"name": f"edge {shortest}: {figure.name}"})


def _job(model: str, number: int, warm_up: str, sources: str) -> Figure:
    with (
        fleet.servers() as servers,
        fleet.worker(servers, workers=number, shard_size=scaled(SHARD_SIZE)) as workers,
    ):
        workers.run([warm_up], model=model)
        with processor_time() as parts:
            finished = workers.run([sources], model=model)
    say(f"whole job, workers: {number}: {finished.rate:.3f} images/s")
    return Figure(
        name=f"whole job, workers: {number}",
        value=finished.rate,
        unit="images/s",
        settings=f"warm, default settings but {scaled(SHARD_SIZE)} images a shard: {finished.images} photographs of "
        f"640×427 and 320×427 from disk in {SHARDS} shards, submit to manifest; processor time an image: "
        f"{described(parts, finished.images)}",
        peak_bytes=finished.peak_bytes,
    )


def _alone(model: str, paths: Sequence[str]) -> Figure:
    """A loop of the worker's forward pass in as many processes at once as there are workers."""
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // WORKERS))}
    with ExitStack() as stack:
        processes = [stack.enter_context(child("ours", environment)) for _ in range(WORKERS)]
        ready = [process.ask("load", model=model, warm_up=paths[0]) for process in processes]
        peaks = [stack.enter_context(peak_memory(process.pid)) for process in processes]
        request = {"paths": paths, "batch_size": ready[0]["batch_size"], "images": scaled(ALONE_IMAGES) // WORKERS}
        with ThreadPoolExecutor(WORKERS) as pool:
            answers = list(pool.map(lambda process: process.ask("forward", **request), processes))
    rate = sum(answer["images"] / answer["seconds"] for answer in answers)
    say(f"model alone: {rate:.3f} images/s")
    return Figure(
        name="model alone",
        value=rate,
        unit="images/s",
        settings=f"forward passes over ready tensors; each of {WORKERS} processes: {answers[0]['images']} images, "
        f"{answers[0]['described']}, {ready[0]['threads']} CPU threads",
        peak_bytes=sum(peak.bytes for peak in peaks),
    )
