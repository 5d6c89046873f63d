"""D. Images behind an HTTP server with 100 ms of latency, against the same images on the local disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.images import small_images
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from benchmarks.slow_server import LATENCY_SECONDS
from maskmill.parameters import DEMO

TITLE = "Images behind 100 ms of latency against images on disk"
IMAGES = Extent(2000, quick=200)
WARM_UP_IMAGES = 64
BAR = 0.9


def run() -> Result:
    """One job on one warm worker: from the disk, the server, and the disk again, so that drift favours neither."""
    paths = small_images(IMAGES.now)
    with (
        tempfile.TemporaryDirectory() as folder,
        child("slow_server") as server,
        fleet.servers() as servers,
        fleet.worker(servers, allow_private_hosts="all") as worker,
    ):
        address = server.ask("start", folder=str(paths[0].parent))
        warm_up = _list(Path(folder) / "warm-up.txt", paths[:WARM_UP_IMAGES])
        worker.run([warm_up], model=DEMO)
        disk = _list(Path(folder) / "disk.txt", paths)
        before = worker.run([disk], model=DEMO)
        say(f"from disk: {before.rate:.1f} images/s")
        remote = worker.run(
            [_list(Path(folder) / "http.txt", (f"{address}/{path.name}" for path in paths))], model=DEMO
        )
        say(f"over HTTP: {remote.rate:.1f} images/s")
        after = worker.run([disk], model=DEMO)
        say(f"from disk: {after.rate:.1f} images/s")
    return _result(before, remote, after)


def _list(path: Path, lines: Iterable[object]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def _result(before: fleet.Finished, remote: fleet.Finished, after: fleet.Finished) -> Result:
    how = f"demo model, {remote.images} small images, default settings, one warm worker, submit to manifest"
    latency = f"an HTTP server on this machine that waits {1000 * LATENCY_SECONDS:.0f} ms before each answer"
    ratio = remote.rate / ((before.rate + after.rate) / 2)
    return Result(
        figures=[
            _figure("from the local disk", before, how),
            _figure("over HTTP", remote, f"{how}; {latency}"),
            _figure("from the local disk", after, how),
        ],
        comparisons=[Comparison(name="images/s, over HTTP ÷ from disk (mean of two)", value=ratio, bar=BAR)],
        notes=["The HTTP server runs on the same cores as the worker; its time is not taken out."],
    )


def _figure(name: str, finished: fleet.Finished, settings: str) -> Figure:
    return Figure(name=name, value=finished.rate, unit="images/s", settings=settings, peak_bytes=finished.peak_bytes)
