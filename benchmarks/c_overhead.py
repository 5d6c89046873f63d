"""C. A whole job, against the same model alone on tensors that lie ready in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
SHARD_SIZE = 64
SHARDS = 5
JOBS = 2
ALONE_IMAGES = 128
BAR = 0.95


def run() -> Result:
    """The model alone before, between and after two jobs, so that a machine that slows down favours neither."""
    model = str(detr(SMALL_SIZE))
    with tempfile.TemporaryDirectory() as folder:
        photographs = benchmark_photographs(Path(folder))
        sources = [str(Path(folder) / "links")]
        linked(photographs, Path(sources[0]), scaled(SHARD_SIZE) * SHARDS)
        paths = [str(path) for path in photographs]
        alone, jobs = [_alone(model, paths)], []
        for _ in range(JOBS):
            jobs.append(_job(model, paths, sources))
            alone.append(_alone(model, paths))
    return _result(jobs, alone)


def _job(model: str, warm_up: Sequence[str], sources: Sequence[str]) -> fleet.Finished:
    with fleet.servers() as servers, fleet.worker(servers, shard_size=scaled(SHARD_SIZE)) as worker:
        worker.run(warm_up, model=model)
        finished = worker.run(sources, model=model)
    say(f"whole job: {finished.rate:.3f} images/s")
    return finished


def _alone(model: str, paths: list[str]) -> Figure:
    """A loop of the worker's forward pass in a process with torch's own number of threads, as the worker has."""
    with child("ours") as process:
        ready = process.ask("load", model=model, warm_up=paths[0])
        with peak_memory(process.pid) as peak:
            answer = process.ask("forward", paths=paths, batch_size=ready["batch_size"], images=scaled(ALONE_IMAGES))
    rate = answer["images"] / answer["seconds"]
    say(f"model alone: {rate:.3f} images/s")
    return Figure(
        name="model alone",
        value=rate,
        unit="images/s",
        settings=f"forward passes over ready tensors, {answer['images']} images, {answer['described']}, "
        f"{ready['threads']} CPU threads",
        peak_bytes=peak.bytes,
    )


def _result(jobs: list[fleet.Finished], alone: list[Figure]) -> Result:
    whole = [
        Figure(
            name="whole job",
            value=job.rate,
            unit="images/s",
            settings=f"one warm worker, default settings but {scaled(SHARD_SIZE)} images a shard: {job.images} "
            f"photographs of 640×427 and 320×427 from disk in {SHARDS} shards, submit to manifest",
            peak_bytes=job.peak_bytes,
        )
        for job in jobs
    ]
    ratio = fmean(job.rate for job in jobs) / fmean(figure.value for figure in alone)
    return Result(
        figures=[*whole, *alone],
        comparisons=[Comparison(name="images/s, whole job ÷ model alone (means)", value=ratio, bar=BAR)],
        notes=["DETR-ResNet-50 panoptic, shortest edge 320; random weights, about 8 of 100 queries pass 0.9."],
    )
