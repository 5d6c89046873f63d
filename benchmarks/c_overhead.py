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
from benchmarks.models import SMALL_SIZE, detr
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import say, scaled

TITLE = "Whole job against the model alone on ready tensors"
WORKERS = 2
"""On a CPU, operations of a model end with its threads waiting for the one that shares its core with something else:
several workers with fewer threads each wait less."""
SHARD_SIZE = 16
SHARDS = 30
WARM_UP_SHARDS = 3 * WORKERS
JOBS = 2
ALONE_IMAGES = 128
BAR = 0.95


def run() -> Result:
    """The model alone before, between and after two jobs, so that a machine that slows down favours neither."""
    model = str(detr(SMALL_SIZE))
    with tempfile.TemporaryDirectory() as folder:
        photographs = benchmark_photographs(Path(folder))
        warm_up, sources = (str(Path(folder) / name) for name in ("warm-up", "links"))
        linked(photographs, Path(warm_up), scaled(SHARD_SIZE) * WARM_UP_SHARDS)
        linked(photographs, Path(sources), scaled(SHARD_SIZE) * SHARDS)
        paths = [str(path) for path in photographs]
        alone, jobs = [_alone(model, paths)], []
        for _ in range(JOBS):
            jobs.append(_job(model, warm_up, sources))
            alone.append(_alone(model, paths))
    return _result(jobs, alone)


def _job(model: str, warm_up: str, sources: str) -> fleet.Finished:
    with (
        fleet.servers() as servers,
        fleet.worker(servers, workers=WORKERS, shard_size=scaled(SHARD_SIZE)) as workers,
    ):
        workers.run([warm_up], model=model)
        finished = workers.run([sources], model=model)
    say(f"whole job: {finished.rate:.3f} images/s")
    return finished


def _alone(model: str, paths: Sequence[str]) -> list[Figure]:
    """By one process with all cores, and by as many as there are workers, with a share of them each."""
    return [_forward(model, paths, processes) for processes in (1, WORKERS)]


def _forward(model: str, paths: Sequence[str], number: int) -> Figure:
    """A loop of the worker's forward pass in so many processes at once."""
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // number))}
    with ExitStack() as stack:
        processes = [stack.enter_context(child("ours", environment)) for _ in range(number)]
        ready = [process.ask("load", model=model, warm_up=paths[0]) for process in processes]
        peaks = [stack.enter_context(peak_memory(process.pid)) for process in processes]
        request = {"paths": paths, "batch_size": ready[0]["batch_size"], "images": scaled(ALONE_IMAGES) // number}
        with ThreadPoolExecutor(number) as pool:
            answers = list(pool.map(lambda process: process.ask("forward", **request), processes))
    rate = sum(answer["images"] / answer["seconds"] for answer in answers)
    say(f"model alone, {number} processes: {rate:.3f} images/s")
    return Figure(
        name=f"model alone, processes: {number}",
        value=rate,
        unit="images/s",
        settings=f"forward passes over ready tensors; each process: {answers[0]['images']} images, "
        f"{answers[0]['described']}, {ready[0]['threads']} CPU threads",
        peak_bytes=sum(peak.bytes for peak in peaks),
    )


def _result(jobs: list[fleet.Finished], alone: list[list[Figure]]) -> Result:
    whole = [
        Figure(
            name="whole job",
            value=job.rate,
            unit="images/s",
            settings=f"{WORKERS} warm workers (--devices cpu --workers-per-device {WORKERS}), default settings but "
            f"{scaled(SHARD_SIZE)} images a shard: {job.images} photographs of 640×427 and 320×427 from disk in "
            f"{SHARDS} shards, submit to manifest",
            peak_bytes=job.peak_bytes,
        )
        for job in jobs
    ]
    best = max(fmean(figure.value for figure in layout) for layout in zip(*alone, strict=True))
    ratio = fmean(job.rate for job in jobs) / best
    return Result(
        figures=[*whole, *(figure for figures in alone for figure in figures)],
        comparisons=[Comparison(name="images/s, whole job ÷ model alone at its best (means)", value=ratio, bar=BAR)],
        notes=["DETR-ResNet-50 panoptic, shortest edge 320; random weights, about 8 of 100 queries pass 0.9."],
    )
