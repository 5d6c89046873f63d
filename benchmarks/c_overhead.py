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
LAYOUTS = (WORKERS, 1, WORKERS)
"""Workers of the jobs that are run in turn."""
ALONE_IMAGES = 128
BAR = 0.95


def run() -> Result:
    """The model alone before, between and after the jobs, so that a machine that slows down favours neither."""
    model = str(detr(SMALL_SIZE))
    with tempfile.TemporaryDirectory() as folder:
        photographs = benchmark_photographs(Path(folder))
        warm_up, sources = (str(Path(folder) / name) for name in ("warm-up", "links"))
        linked(photographs, Path(warm_up), scaled(SHARD_SIZE) * WARM_UP_SHARDS)
        linked(photographs, Path(sources), scaled(SHARD_SIZE) * SHARDS)
        paths = [str(path) for path in photographs]
        alone, jobs = [_alone(model, paths)], []
        for workers in LAYOUTS:
            jobs.append(_job(model, workers, warm_up, sources))
            alone.append(_alone(model, paths))
    return _result(jobs, alone)


def _job(model: str, number: int, warm_up: str, sources: str) -> Figure:
    with (
        fleet.servers() as servers,
        fleet.worker(servers, workers=number, shard_size=scaled(SHARD_SIZE)) as workers,
    ):
        workers.run([warm_up], model=model)
        finished = workers.run([sources], model=model)
    say(f"whole job, {number} workers: {finished.rate:.3f} images/s")
    return Figure(
        name=_job_name(number),
        value=finished.rate,
        unit="images/s",
        settings=f"warm, default settings but {scaled(SHARD_SIZE)} images a shard: {finished.images} photographs of "
        f"640×427 and 320×427 from disk in {SHARDS} shards, submit to manifest",
        peak_bytes=finished.peak_bytes,
    )


def _job_name(workers: int) -> str:
    return "whole job, " + ("--device cpu" if workers == 1 else f"--devices cpu --workers-per-device {workers}")


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


def _result(jobs: list[Figure], alone: list[list[Figure]]) -> Result:
    best = max(fmean(figure.value for figure in layout) for layout in zip(*alone, strict=True))
    one, shared = (fmean(job.value for job in jobs if job.name == _job_name(number)) / best for number in (1, WORKERS))
    return Result(
        figures=[*jobs, *(figure for figures in alone for figure in figures)],
        comparisons=[
            Comparison(name=f"images/s, whole job with {WORKERS} workers ÷ model alone (means)", value=shared, bar=BAR)
        ],
        notes=[
            "DETR-ResNet-50 panoptic, shortest edge 320; random weights, about 8 of 100 queries pass 0.9.",
            f"The model alone is that of the faster layout. One worker with all cores reaches {one:.3f} of it.",
        ],
    )
