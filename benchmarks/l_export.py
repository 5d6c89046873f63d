"""L. Export of 10,000 and 100,000 masks to COCO instances, against a loop over pycocotools and json; and a download."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.memory import peak_memory
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from benchmarks.stored_job import SEGMENTS, stored_job
from maskmill.cores import usable_cores

TITLE = "Export to COCO instances: 10,000 and 100,000 masks of 640 × 480 with seven segments"
SIZES = Extent((10_000, 100_000), quick=(500, 2_000))
LOOP_IMAGES = Extent(2_000, quick=200)
SPEED_BAR, GROWTH_BAR, MEMORY_BAR = 1.5, 1.05, 500
QUEUE = "bench-export"


@dataclass(frozen=True)
class Run:
    """One side's run, and the peak memory of its processes."""

    images: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def run() -> Result:
    """The store is on this machine. The loop takes masks of the larger job, before ours and after; its best counts."""
    with tempfile.TemporaryDirectory() as folder, fleet.servers() as servers:
        settings = fleet.settings_of(servers, prefix=QUEUE, queue=QUEUE)
        jobs = [stored_job(settings, size, Path(folder)) for size in SIZES.now]
        environment = {**servers.environment(), "MASKMILL_PREFIX": QUEUE, "MASKMILL_QUEUE": QUEUE}

        def side(name: str, number: int, **more: Any) -> Run:
            target = str(Path(folder) / f"{name}-{number}")
            return _run(environment, name, out=jobs[number].out, job=jobs[number].id, target=target, **more)

        loops = [side("loop", 1, images=LOOP_IMAGES.now)]
        ours = [side("export", number) for number in range(len(jobs))]
        loops.append(side("loop", 1, images=LOOP_IMAGES.now))
        download, bare = side("download", 0), side("requests", 0)
    return _result(ours, max(loops, key=lambda each: each.rate), download, bare)


def _run(environment: dict[str, str], name: str, **arguments: Any) -> Run:
    with child("export_sides", environment) as process, peak_memory(process.pid) as peak:
        answer = process.ask(name, **arguments)
    found = Run(answer["images"], answer["seconds"], peak.bytes)
    say(f"{name}: {found.images:,} images, {found.rate:.0f} images/s, {found.peak_bytes >> 20} MiB")
    return found


def _result(ours: list[Run], loop: Run, download: Run, bare: Run) -> Result:
    small, large = ours
    how = f"640 × 480 pixels, {SEGMENTS} segments, {usable_cores()} processes, run lengths, to a folder"
    return Result(
        figures=[
            *(
                Figure(
                    name=f"maskmill export, {each.images:,} masks",
                    value=each.rate,
                    unit="images/s",
                    settings=how,
                    peak_bytes=each.peak_bytes,
                )
                for each in ours
            ),
            Figure(
                name="pycocotools and json in a loop",
                value=loop.rate,
                unit="images/s",
                settings=f"{loop.images:,} of the same masks, boto3 and Pillow, one process, better of 2",
                peak_bytes=loop.peak_bytes,
            ),
            Figure(
                name=f"maskmill results --download, {download.images:,} masks",
                value=download.rate,
                unit="images/s",
                settings=f"{usable_cores()} processes, checked and written to a folder, with the metadata",
                peak_bytes=download.peak_bytes,
            ),
            Figure(
                name="the same masks by bare requests",
                value=bare.rate,
                unit="images/s",
                settings="as many processes and threads, boto3, nothing done with the bytes",
                peak_bytes=bare.peak_bytes,
            ),
        ],
        comparisons=[
            Comparison(name="images/s, export ÷ loop over pycocotools", value=large.rate / loop.rate, bar=SPEED_BAR),
            Comparison(
                name=f"peak memory, {large.images:,} ÷ {small.images:,}",
                value=large.peak_bytes / small.peak_bytes,
                bar=GROWTH_BAR,
                sense="at most",
            ),
            Comparison(
                name=f"peak memory, {large.images:,} masks",
                value=large.peak_bytes / 1e6,
                bar=MEMORY_BAR,
                sense="at most",
                unit="MB",
            ),
        ],
    )
