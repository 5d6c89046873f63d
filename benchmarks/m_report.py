"""M. The report of a job of 100,000 images: how long it takes, what memory, and how the page does in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from playwright.sync_api import Page

from benchmarks import made_jobs
from benchmarks.fleet import servers as fresh_servers
from benchmarks.fleet import settings_of
from benchmarks.memory import peak_memory
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill import Settings
from maskmill.storage import keys
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store
from maskmill_producer import embedded
from maskmill_producer.report.page.pictures import sample
from maskmill_producer.report.page.report import GALLERY
from maskmill_producer.report.page.source import Numbered
from tests.browser import browser

TITLE = "A report of 100,000 images, and its page in a browser"
SIZES = Extent((10_000, 100_000), quick=(1_000, 5_000))
COMMAND = (sys.executable, "-c", "from maskmill_producer.entry import main; main()", "report", "--json")
SECONDS_BAR, MEGABYTES_BAR, READY_BAR, HEAP_BAR = 180.0, 500.0, 2.0, 50.0
SCROLLS = 200
THREADS = 8


@dataclass(frozen=True)
class Made:
    """A report: seconds, peak bytes of the command, and the folder's bytes."""

    images: int
    seconds: float
    peak_bytes: int
    folder_bytes: int


@dataclass(frozen=True)
class Shown:
    """The page with all images, the least sure ones first: seconds and milliseconds, megabytes."""

    ready: float
    filtering: float
    frame: float
    slow_frame: float
    heap: float


def run() -> Result:
    """A small job for comparison, then the large one, whose page is opened."""
    with tempfile.TemporaryDirectory() as folder, fresh_servers() as servers:
        few, many = (
            _report(Path(folder), servers, settings_of(servers, prefix=f"report-{images}"), images)
            for images in SIZES.now
        )
        shown = _show(Path(folder) / f"report-{many.images}")
    return _result(few, many, shown)


def _report(folder: Path, servers: embedded.Servers, settings: Settings, images: int) -> Made:
    photos, report = folder / f"photos-{images}", folder / f"report-{images}"
    store = Store(settings.out, settings.s3)
    store.ensure_bucket()
    _put(store, images, str(photos))
    say(f"{images:,} images: the job is there")
    command = [*COMMAND, made_jobs.JOB, "--from", settings.out, "--out", str(report)]
    started = time.perf_counter()
    with (
        subprocess.Popen(command, env=os.environ | servers.environment(), stdout=subprocess.DEVNULL) as process,  # noqa: S603 - our own
        peak_memory(process.pid) as peak,
    ):
        code = process.wait()
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(f"maskmill report ended with {code}")
    say(f"{images:,} images: {seconds:.1f} s, {peak.bytes >> 20} MiB")
    return Made(images, seconds, peak.bytes, sum(path.stat().st_size for path in report.rglob("*") if path.is_file()))


def _put(store: Store, images: int, photos: str) -> None:
    """All records of the job, and the masks and images that the report will want to see."""
    record, manifest = made_jobs.record(images, photos), made_jobs.manifest(images)

    def put(shard: int) -> list[Numbered]:
        report = made_jobs.report(images, shard, photos)
        first = shard * made_jobs.SHARD
        references = (made_jobs.reference(first + place, photos) for place in range(len(report.outcomes)))
        lines = b"".join(each.to_json() + b"\n" for each in references)
        store.put(keys.shard(record.job, shard), lines)
        store.put(keys.report(record.job, shard), report.to_json())
        return [Numbered(first + place, each) for place, each in enumerate(report.outcomes) if each.has_mask]

    with_masks = chain.from_iterable(map_ahead(put, range(record.shards), THREADS))
    for _, outcome in sample(with_masks, GALLERY, manifest.counts.stored):
        store.put(outcome.mask_key or "", made_jobs.mask_png(outcome))
        path = Path(outcome.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_jobs.image_jpeg(outcome))
    store.put(keys.manifest(record.job), manifest.to_json())
    store.put(keys.job_record(record.job), record.to_json())


def _show(report: Path) -> Shown:
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()
        page.goto((report / "index.html").as_uri())
        page.wait_for_selector("body[data-ready]")
        ready = time.perf_counter() - started
        page.select_option("[name=which]", "all")
        page.select_option("[name=order]", label="least sure first")
        filtering = float(
            page.evaluate("(() => { const begun = performance.now(); filter(); return performance.now() - begun; })()")
        )
        frames = sorted(_frames(page))
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6
    return Shown(ready, filtering, frames[len(frames) // 2], frames[len(frames) * 95 // 100], heap)


def _frames(page: Page) -> list[float]:
    """Milliseconds between frames while the page is scrolled by 300 pixels a frame."""
    found: list[float] = page.evaluate(
        """async (times) => {
            document.getElementById("images").scrollIntoView();
            const frames = [];
            for (let last = performance.now(); frames.length < times;) {
                scrollBy(0, 300);
                await new Promise(requestAnimationFrame);
                frames.push(performance.now() - last);
                last = performance.now();
            }
            return frames;
        }""",
        SCROLLS,
    )
    return found


def _result(few: Made, many: Made, shown: Shown) -> Result:
    how = "made records in SeaweedFS, 7 segments an image, pictures of a sample of 120; the command from its start"
    return Result(
        figures=[
            *(
                Figure(
                    name=f"report of {each.images:,} images",
                    value=round(each.seconds, 2),
                    unit="s",
                    settings=f"{how}; a folder of {each.folder_bytes / 1e6:.0f} MB",
                    peak_bytes=each.peak_bytes,
                )
                for each in (few, many)
            ),
            _figure("page ready", shown.ready, "s", "headless Chromium, from disk"),
            _figure("filter and sort all images", shown.filtering, "ms", "least sure first"),
            _figure(
                "frame while scrolling, median", shown.frame, "ms", f"{SCROLLS} steps of 300 pixels, software rendering"
            ),
            _figure("frame while scrolling, 95th of 100", shown.slow_frame, "ms", "the same"),
            _figure("heap in use after that", shown.heap, "MB", "after a garbage collection"),
        ],
        comparisons=[
            _at_most(f"report of {many.images:,} images", many.seconds, SECONDS_BAR, "s"),
            _at_most("peak memory of the report", many.peak_bytes / 1e6, MEGABYTES_BAR, "MB"),
            _at_most("page ready", shown.ready, READY_BAR, "s"),
            _at_most("heap of the page", shown.heap, HEAP_BAR, "MB"),
        ],
    )


def _figure(name: str, value: float, unit: str, settings: str) -> Figure:
    return Figure(name=name, value=round(value, 2), unit=unit, settings=settings)


def _at_most(name: str, value: float, bar: float, unit: str) -> Comparison:
    return Comparison(name=name, value=value, bar=bar, sense="at most", unit=unit)
