"""C. A whole job, against the same model alone on tensors that lie ready in memory."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.images import benchmark_photographs, linked
from benchmarks.memory import peak_memory
from benchmarks.models import detr
from benchmarks.processor_time import described, processor_time
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill.machine import memory_of_models

TITLE = "Whole job against the model alone on ready tensors"
CORES = os.cpu_count() or 1
SHARD_SIZE = 8
SHARDS = Extent(12, quick=2)
ROUNDS = Extent(3, quick=1)
"""Jobs with the model alone before, between and after them: two runs of the same differ by a few per cent."""
WARM_UP_SHARDS = Extent(6, quick=1)
ALONE_IMAGES = Extent(32, quick=8)


@dataclass(frozen=True)
class Layout:
    """One worker with so many CPU threads for the model, and so many processes with the model alone, each with some."""

    name: str
    worker_threads: int | None
    processes: int
    threads: int
    bar: float


HALF = max(1, CORES // 2)

APART = Layout("the model on cores of its own", HALF, 1, HALF, bar=0.95)
"""As with an accelerator: the model has half of the cores, and what goes on beside it the others. Does it ever wait?"""

SHARED = Layout("all on the same cores", None, 2, HALF, bar=0.93)
"""A machine that has nothing else: what goes on beside the model is taken from it. The model alone is in two processes,
which is the fastest way."""

CASES = Extent(((480, APART), (320, APART), (320, SHARED)), quick=((320, APART), (320, SHARED)))
"""The shorter edge of the images that the model sees, and the layout."""


def run() -> Result:
    """All cases."""
    results = [_at(edge, layout) for edge, layout in CASES.now]
    return Result(
        figures=[figure for result in results for figure in result.figures],
        comparisons=[comparison for result in results for comparison in result.comparisons],
        notes=[
            "DETR-ResNet-50 panoptic; random weights, about 8 of 100 queries pass 0.9.",
            f"{APART.name.capitalize()}: `OMP_NUM_THREADS={HALF} maskmill-worker`; the rest has the others.",
            f"{SHARED.name.capitalize()}: `maskmill-worker`.",
            *(note for result in results for note in result.notes),
        ],
    )


def _at(edge: int, layout: Layout) -> Result:
    model = str(detr({"shortest_edge": edge, "longest_edge": 5 * edge // 3}))
    with tempfile.TemporaryDirectory() as folder:
        photographs = benchmark_photographs(Path(folder))
        warm_up, *sources = (Path(folder) / name for name in ("warm-up", *map(str, range(ROUNDS.now))))
        linked(photographs, warm_up, SHARD_SIZE * WARM_UP_SHARDS.now)
        for each in sources:  # names of its own for each round: the masks are new
            linked(photographs, each, SHARD_SIZE * SHARDS.now)
        paths = [str(path) for path in photographs]
        jobs, alone, how = _rounds(model, layout, str(warm_up), [str(each) for each in sources], paths)
    name = f"edge {edge}, {layout.name}"
    ratio = fmean(job.rate for job in jobs) / fmean(each.value for each in alone)
    return Result(
        figures=[
            Figure(
                name=f"{name}: whole job",
                value=fmean(job.rate for job in jobs),
                unit="images/s",
                settings=f"mean of {_listed(job.rate for job in jobs)}; warm, default settings but "
                f"{SHARD_SIZE} images a shard: {jobs[0].images} photographs of 640×427 and 320×427 from disk "
                f"in {SHARDS.now} shards, submit to manifest; processor time an image: {how}",
                peak_bytes=max(job.peak_bytes for job in jobs),
            ),
            alone[0].model_copy(
                update={
                    "name": f"{name}: model alone",
                    "value": fmean(each.value for each in alone),
                    "settings": f"mean of {_listed(each.value for each in alone)}; {alone[0].settings}",
                }
            ),
        ],
        comparisons=[Comparison(name=f"{name}: images/s, job ÷ model alone", value=ratio, bar=layout.bar)],
        notes=[f"Edge {edge}, {layout.name}: the job reaches {ratio:.3f} of the model alone."],
    )


def _listed(rates: Iterable[float]) -> str:
    return ", ".join(f"{rate:.3f}" for rate in rates)


def _rounds(
    model: str, layout: Layout, warm_up: str, sources: Sequence[str], paths: Sequence[str]
) -> tuple[list[fleet.Finished], list[Figure], str]:
    """The jobs, the runs of the model alone around them, and where the jobs' processor time went."""
    jobs, parts = [], Counter[str]()
    with (
        fleet.servers() as servers,
        fleet.worker(servers, threads=layout.worker_threads, shard_size=SHARD_SIZE) as worker,
        _model_alone(model, layout, paths) as alone,
    ):
        worker.run([warm_up], model=model)
        around = [alone()]
        for each in sources:
            with processor_time() as taken:
                jobs.append(worker.run([each], model=model))
            parts.update(taken)
            say(f"whole job, {layout.name}: {jobs[-1].rate:.3f} images/s")
            around.append(alone())
    return jobs, around, described(parts, sum(job.images for job in jobs))


@contextmanager
def _model_alone(model: str, layout: Layout, paths: Sequence[str]) -> Iterator[Callable[[], Figure]]:
    """A loop of the worker's forward pass, in several processes at once, each time that it is called."""
    environment = {"OMP_NUM_THREADS": str(layout.threads), **memory_of_models()}  # as the worker has it
    with ExitStack() as stack:
        processes = [stack.enter_context(child("ours", environment)) for _ in range(layout.processes)]
        ready = [process.ask("load", model=model, warm_up=paths[0]) for process in processes]
        pool = stack.enter_context(ThreadPoolExecutor(layout.processes))
        request = {"paths": paths, "batch_size": ready[0]["batch_size"], "images": ALONE_IMAGES.now}

        def run_alone() -> Figure:
            with ExitStack() as peaks_of:
                peaks = [peaks_of.enter_context(peak_memory(process.pid)) for process in processes]
                answers = list(pool.map(lambda process: process.ask("forward", **request), processes))
            rate = sum(answer["images"] / answer["seconds"] for answer in answers)
            say(f"model alone, {layout.name}: {rate:.3f} images/s")
            return Figure(
                name="model alone",
                value=rate,
                unit="images/s",
                settings=f"forward passes over ready tensors; processes: {layout.processes}, each: "
                f"{answers[0]['images']} images, {answers[0]['described']}, {ready[0]['threads']} CPU threads",
                peak_bytes=sum(peak.bytes for peak in peaks),
            )

        yield run_alone
