"""One model, from files to stored masks: alone, as a job, and by the stock pipeline in two ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from benchmarks import fleet, peers
from benchmarks.child import Child, child
from benchmarks.gpu.device import Busy, busy
from benchmarks.gpu.models import model_folder
from benchmarks.gpu.photographs import LARGE, LARGE_TINY, SMALL, Size, photographs_of
from benchmarks.gpu.sheet import Sheet
from benchmarks.images import linked
from benchmarks.peers import Peer, Settings
from benchmarks.result import Comparison, Figure
from maskmill import Client, Job
from maskmill.jobs.records import read_report
from maskmill.schema import Outcome

PANOPTIC = ("detr", "mask2former", "oneformer", "eomt")
"""Models whose bars against the stock pipeline hold: it makes a full-size mask for each of their segments."""

ONE_BY_ONE = ("oneformer",)
"""Models of which the stock pipeline takes no batches: of its outputs it takes a tuple of layers for one of images."""

OF_LARGE_IMAGES = ("detr", "segformer", "mask2former")

SOME = (("float32", 16), ("bfloat16", 16))
"""Dtypes and batch sizes beside the default ones."""

MORE = (("float32", 1), ("float32", 16), ("bfloat16", 4), ("bfloat16", 16), ("float16", 16))
SETTINGS = {"detr": MORE, "segformer": MORE}
"""Those of the models that are measured first."""

READY_IMAGES = 16
"""Photographs whose tensors are ready for the model alone."""

FIRST_BATCHES = 4
ALONE_SECONDS = 1.0

ALONE_BAR, BUSY_BAR, LOOP_BAR, LOADER_BAR = 0.95, 95.0, 5.0, 3.0

LOOP: Settings = {"batch_size": 1, "num_workers": 0, "threads": 0}
LOADER: Settings = {"batch_size": 4, "num_workers": 8, "threads": 8}
LOADER_CHOICES = ([{"batch_size": 1}, {"batch_size": 16}],)
LOADER_CHOICES_TINY = ([{"batch_size": 1}],)


@dataclass(frozen=True)
class Run:
    """How a piece is run: a dry run is `tiny`."""

    device: str
    tiny: bool

    @property
    def seconds(self) -> float:
        """How long one figure is to take, about."""
        return 0.5 if self.tiny else 3.0

    @property
    def torch_device(self) -> str:
        """The device as a worker that sees one calls it."""
        return "cpu" if self.device == "cpu" else "cuda:0"

    def images(self, rate: float, seconds: float, at_least: int, at_most: int) -> int:
        """So many images as take so many seconds."""
        return at_least if self.tiny else min(at_most, max(at_least, round(rate * seconds)))


class Measured:
    """One model over photographs of one size; what is measured goes to the sheet."""

    def __init__(self, sheet: Sheet, run: Run, model: str, size: Size, folder: Path) -> None:
        self.sheet, self.run, self.folder = sheet, run, folder
        self.model = str(model_folder(model, run.device, tiny=run.tiny))
        self.name = f"{model}, {size[0]}×{size[1]}"
        self.sources = photographs_of(size)

    @cache  # noqa: B019 - as long as the piece
    def paths(self, count: int) -> list[str]:
        """So many files, each with a name of its own."""
        return [str(path) for path in linked(self.sources, self.folder / str(count), count)]

    def load(self, ours: Child, dtype: str = "auto") -> int:
        """Load the model in the worker's classes; the default batch size."""
        warm_up = str(self.sources[0])
        answer = ours.ask("load", model=self.model, warm_up=warm_up, device=self.run.torch_device, dtype=dtype)
        return int(answer["batch_size"])

    def alone(self, ours: Child, dtype: str, batch_size: int) -> float:
        """Images a second of the worker's forward pass over tensors that are ready on the device."""
        first = self._forward(ours, batch_size, FIRST_BATCHES)
        if not first:
            self.sheet.add(f"{self.name}, {dtype}: a batch of {batch_size} does not fit beside the other processes.")
            return 0.0
        batches = FIRST_BATCHES if self.run.tiny else max(FIRST_BATCHES, round(first * ALONE_SECONDS / batch_size))
        rate = self._forward(ours, batch_size, batches)
        settings = f"{batches} batches of tensors that are ready on the device, forward passes alone"
        self.sheet.add(self._figure(f"(a) the model alone, {dtype}, batch size {batch_size}", rate, settings))
        return rate

    def _forward(self, ours: Child, batch_size: int, batches: int) -> float:
        paths = [str(path) for path in self.sources[:READY_IMAGES]]
        answer = ours.ask("forward", paths=paths, batch_size=batch_size, images=batches * batch_size)
        return float(answer["images"] / answer["seconds"])

    def job(self, worker: fleet.Fleet, images: int, **parameters: object) -> float:
        """Images a second of a whole job, from submit to manifest, and where its time went.

        Its memory is not looked at meanwhile: that of a process with a CUDA context takes long, and holds it up.
        """
        client, paths = Client(worker.settings), self.paths(images)
        with busy(self.run.device) as found:
            manifest, seconds = fleet.run_job(
                client, paths, lambda _: worker.process.check(), model=self.model, **parameters
            )
        rate = images / seconds
        how = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in parameters.items()) or "default settings"
        settings = f"{images} images from disk to stored mask, one warm worker, submit to manifest{_busy(found)}"
        self.sheet.add(self._figure(f"(b) whole job, {how}", rate, settings))
        self.sheet.add(f"{self.name}, whole job, {how}: {_stages(client.job(manifest.job))}.")
        if found.share is not None:
            self.sheet.add(
                Comparison(name=f"{self.name}: device busy, {how}", value=found.share, bar=BUSY_BAR, unit="%")
            )
        return rate

    def stock(self, peer: Peer, how: str, settings: Settings, images: int) -> float:
        """Images a second of the stock pipeline with these settings."""
        with busy(self.run.device) as found:
            stored = peer.run(self.paths(images), settings, "map")
        described = f"{images} images from disk, one segment map an image; {stored.described}{_busy(found)}"
        self.sheet.add(self._figure(how, stored.rate, described))
        return stored.rate

    def compare(self, name: str, value: float, bar: float) -> None:
        """Keep a ratio."""
        self.sheet.add(Comparison(name=f"{self.name}: {name}", value=value, bar=bar))

    def _figure(self, name: str, rate: float, settings: str) -> Figure:
        return Figure(name=f"{self.name}: {name}", value=rate, unit="images/s", settings=settings)


def small_images(sheet: Sheet, run: Run, *, model: str) -> None:
    """Photographs of 640 × 480: all four sides, then other dtypes and batch sizes."""
    with _processes(sheet, run, model, SMALL) as (measured, ours, worker, stock):
        with stock as peer:
            alone = measured.alone(ours, "float32", measured.load(ours))
            worker.run(measured.paths(run.images(alone, run.seconds, 8, 256)), model=measured.model)
            job = measured.job(worker, run.images(alone, 2 * run.seconds, 16, 2000))
            measured.compare("images/s, (b) ÷ (a)", job / alone, ALONE_BAR)
            loop = _stock_loop(measured, peer, run, 64)
            loader = _stock_loader(measured, peer, run, loop, batches=model not in ONE_BY_ONE)
        if model in PANOPTIC:
            measured.compare("images/s, (b) ÷ (c)", job / loop, LOOP_BAR)
            measured.compare("images/s, (b) ÷ (d)", job / loader, LOADER_BAR)
        _other_settings(measured, ours, worker, SETTINGS.get(model, SOME))


def _other_settings(measured: Measured, ours: Child, worker: fleet.Fleet, settings: Sequence[tuple[str, int]]) -> None:
    """The model alone in other dtypes and batches, and a job with the fastest of them."""
    rates = {}
    for dtype, batch_size in settings:
        measured.load(ours, dtype)
        rates[dtype, batch_size] = measured.alone(ours, dtype, batch_size)
    dtype, batch_size = max(rates, key=lambda key: rates[key])
    worker.run(measured.paths(16), model=measured.model, dtype=dtype, batch_size=batch_size)
    images = measured.run.images(rates[dtype, batch_size], 1.5 * measured.run.seconds, 16, 2000)
    measured.job(worker, images, dtype=dtype, batch_size=batch_size)


def large_images(sheet: Sheet, run: Run) -> None:
    """Photographs of 12 megapixels: the job, what it waits for, and the stock pipeline in a loop."""
    for model in OF_LARGE_IMAGES[:1] if run.tiny else OF_LARGE_IMAGES:
        with (
            _processes(sheet, run, model, LARGE_TINY if run.tiny else LARGE) as (measured, _, worker, stock),
            stock as peer,
        ):
            worker.run(measured.paths(8), model=measured.model)
            job = measured.job(worker, 8 if run.tiny else 96)
            loop = _stock_loop(measured, peer, run, 8, 2)
            if model in PANOPTIC:
                measured.compare("images/s, (b) ÷ (c)", job / loop, LOOP_BAR)


Processes = tuple[Measured, Child, fleet.Fleet, AbstractContextManager[Peer]]


@contextmanager
def _processes(sheet: Sheet, run: Run, model: str, size: Size) -> Iterator[Processes]:
    """The worker, its classes by themselves, and the stock pipeline, which is loaded when its block begins."""
    with TemporaryDirectory(prefix="maskmill-gpu-") as folder:
        measured = Measured(sheet, run, model, size, Path(folder))
        with fleet.servers() as servers, fleet.worker(servers, device=run.device) as worker, child("ours") as ours:
            name, warm_up = "stock pipeline", str(measured.sources[0])
            stock = peers.stock(measured.model, warm_up, servers.environment(), name, device=run.torch_device)
            yield measured, ours, worker, stock


def _stock_loop(measured: Measured, stock: Peer, run: Run, at_most: int, tried: int = 4) -> float:
    first = stock.run(measured.paths(tried), LOOP, "map")
    return measured.stock(
        stock, "(c) stock pipeline in a loop", LOOP, run.images(first.rate, run.seconds, tried, at_most)
    )


def _stock_loader(measured: Measured, stock: Peer, run: Run, loop: float, *, batches: bool) -> float:
    settings: Settings = {**LOADER, "batch_size": 1}
    if batches:
        some = measured.paths(run.images(loop, run.seconds, 16, 64))
        settings = stock.tuned(some, LOADER_CHOICES_TINY if run.tiny else LOADER_CHOICES, LOADER)
    return measured.stock(
        stock, "(d) stock pipeline with DataLoader", settings, run.images(2 * loop, run.seconds, 16, 256)
    )


def _busy(found: Busy) -> str:
    return "" if found.share is None else f"; device busy {found.share:.0f} % from first to last kernel"


def _stages(job: Job) -> str:
    """Means of the images' seconds by stage, and of the model's thread: what it did and what it waited for."""
    reports = [report for shard in range(job.record().shards) if (report := read_report(job.store, job.id, shard))]
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    device = [report.device for report in reports if report.device]
    means = ", ".join(f"{stage} {1000 * mean:.1f}" for stage, mean in _means(outcomes).items())
    busy, loading, storing = (sum(getattr(each, key) for each in device) for key in ("busy", "loading", "storing"))
    return (
        f"milliseconds an image, {means}; the model's thread worked {busy:.1f} s, waited {loading:.1f} s for images "
        f"and {storing:.1f} s for uploads"
    )


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    stages = [outcome.seconds for outcome in outcomes if outcome.seconds]
    return {stage: fmean(seconds.get(stage, 0.0) for seconds in stages) for stage in stages[0]} if stages else {}
