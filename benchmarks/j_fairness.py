"""J. A small job behind a large one, one worker: how long it takes against what it takes alone."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import fleet
from benchmarks.images import benchmark_photographs, linked
from benchmarks.models import detr
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill import Client, Job
from maskmill.jobs.records import read_report

TITLE = "A job of 20 images submitted behind one of 2,000, one worker"
SMALL, LARGE = Extent(20, quick=4), Extent(2_000, quick=600)
SHARDS: Extent[dict[str, Any]] = Extent({}, quick={"shard_size": 8})
"""Settings: the default shards, of which one of the slow model takes 42 s, or smaller ones."""

EDGE = 320
"""The shorter edge that the slow model sees: about half a second an image on two cores."""

WAIT_SECONDS = 3600.0
EQUAL_BAR, PRIORITY_BAR = 3.0, 1.5


@dataclass(frozen=True)
class Case:
    """A model, by its name in the table."""

    name: str
    model: str


def run() -> Result:
    """A fast and a slow model; an equal job, and one of higher priority."""
    slow = str(detr({"shortest_edge": EDGE, "longest_edge": 5 * EDGE // 3}))
    results = [_measure(case) for case in (Case("fast model", "demo"), Case("slow model", slow))]
    return Result(
        figures=[figure for result in results for figure in result.figures],
        comparisons=[comparison for result in results for comparison in result.comparisons],
        notes=[
            "The ratio is (wait − one shard of the large job) ÷ (the small job alone on the warm worker).",
            f"Fast: the demo model. Slow: DETR-ResNet-50 panoptic, shorter edge {EDGE}.",
        ],
    )


def _measure(case: Case) -> Result:
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet.servers() as servers,
        fleet.worker(servers, **SHARDS.now) as worker,
    ):
        photographs = benchmark_photographs(Path(folder))
        small, large = Path(folder) / "small", Path(folder) / "large"
        linked(photographs, small, SMALL.now)
        linked(photographs, large, LARGE.now)
        worker.run([str(small)], model=case.model)  # warm
        alone = worker.run([str(small)], model=case.model).seconds
        waits = {priority: _behind(worker, small, large, case.model, priority) for priority in (0, 10)}
    return Result(
        figures=[
            Figure(name=f"{case.name}: alone", value=alone, unit="s", settings=f"{SMALL.now} images, warm worker"),
            *(_figure(case, priority, *found) for priority, found in waits.items()),
        ],
        comparisons=[
            _comparison(f"{case.name}, equal jobs", alone, *waits[0], EQUAL_BAR),
            _comparison(f"{case.name}, higher priority", alone, *waits[10], PRIORITY_BAR),
        ],
    )


def _figure(case: Case, priority: int, wait: float, shard: float) -> Figure:
    settings = f"priority {priority}; one shard of the large job takes {shard:.1f} s"
    return Figure(name=f"{case.name}: behind the large job", value=wait, unit="s", settings=settings)


def _comparison(name: str, alone: float, wait: float, shard: float, bar: float) -> Comparison:
    ratio = max(0.0, (wait - shard) / alone)
    return Comparison(name=f"{name}: (wait − one shard) ÷ alone", value=ratio, bar=bar, sense="at most")


def _behind(worker: fleet.Fleet, small: Path, large: Path, model: str, priority: int) -> tuple[float, float]:
    """Seconds that the small job takes behind the large one, and those of one of the large job's shards."""
    client = Client(worker.settings)
    first = client.submit([str(large)], model=model, overwrite=True)
    while first.status().shards_done < 1:
        worker.process.check()
        time.sleep(0.1)
    started = time.perf_counter()
    second = client.submit([str(small)], model=model, overwrite=True, priority=priority)
    second.wait(timeout=WAIT_SECONDS)
    wait = time.perf_counter() - started
    shard = _shard_seconds(first)
    first.cancel()
    first.wait(timeout=WAIT_SECONDS)
    say(f"priority {priority}: {wait:.1f} s behind a job whose shards take {shard:.1f} s")
    return wait, shard


def _shard_seconds(job: Job) -> float:
    reports = (read_report(job.store, job.id, shard) for shard in range(job.status().shards_done))
    return fmean(report.device.total for report in reports if report and report.device)
