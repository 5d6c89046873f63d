"""A. Image file to mask, and the model alone: against the stock pipeline, on torch and on what CPUs are served with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import sides
from benchmarks.images import benchmark_photographs
from benchmarks.models import COCO_SIZE, detr, segformer
from benchmarks.result import Comparison, Figure, Result
from benchmarks.runtimes import PACKAGES
from benchmarks.scale import Extent, say
from benchmarks.sides import Side, Work
from maskmill.errors import one_line
from maskmill.masks.segment_map import decode

TITLE = "DETR-ResNet-50 panoptic and SegFormer-B0 at their real sizes: image file to mask, and the model alone"
IMAGES = Extent(6, quick=1)
DETR_SIZE = Extent(COCO_SIZE, quick={"shortest_edge": 320, "longest_edge": 533})
REPEATS = Extent(3, quick=1)
OTHERS_BAR, EQUAL_BAR = 1.0, 99.9


@dataclass(frozen=True)
class Case:
    """A model and how it is measured: `others_…` on the other runtimes; `bar` is that against stock."""

    name: str
    model: Path
    sees: str
    batch_sizes: Sequence[int]
    others_batch_sizes: Sequence[int]
    forwards: int
    bar: float


@dataclass(frozen=True)
class Measured:
    """All sides of a case, with the reasons of those that did not run; for each, pixels that are stock's, by image."""

    case: Case
    stock: list[Side]
    ours: Side
    our_others: list[Side]
    others: list[Side]
    failed: dict[str, str]
    equal: dict[str, list[NDArray[np.bool_]]]

    def share(self, name: str) -> float:
        """Percent of all pixels that a side gives to stock's segment, in the pipeline's order."""
        return 100 * float(np.mean(np.concatenate([each.ravel() for each in self.equal[name]])))


def run() -> Result:
    """Each model on the same photographs."""
    with tempfile.TemporaryDirectory() as folder:
        photographs = [str(path) for path in benchmark_photographs(Path(folder))]
        paths = [*photographs[: IMAGES.now - 1], photographs[-1]]
        measured = [_measured(case, paths, Path(folder) / str(place)) for place, case in enumerate(_cases())]
    return Result(
        figures=[figure for each in measured for figure in _figures(each, paths)],
        comparisons=[comparison for each in measured for comparison in _comparisons(each)],
        notes=[note for each in measured for note in _notes(each)],
    )


def _cases() -> tuple[Case, Case]:
    sees = Extent("1199×800 and 800×1067", quick="479×320 and 320×427").now
    sizes = Extent((1, 2, 4), quick=(1,)).now
    forwards = Extent((1, 10), quick=(1, 3)).now
    others = Extent((1, 4), quick=(1,)).now
    return (
        Case("DETR-ResNet-50 panoptic", detr(DETR_SIZE.now), sees, sizes, (1,), forwards[0], 6.0),
        Case("SegFormer-B0", segformer(), "512×512", sizes, others, forwards[1], 1.5),
    )


def _measured(case: Case, paths: Sequence[str], folder: Path) -> Measured:
    """Ours before the other runtimes and after them, so that drift favours neither."""
    work = Work(case.model, paths, sorted({paths[0], paths[-1]}), case.forwards)
    folders = {name: folder / name.replace(" ", "-") for name in (sides.STOCK, sides.OURS, *PACKAGES)}
    for each in folders.values():
        each.mkdir(parents=True)
    stock = sides.stock(work, case.batch_sizes, folders[sides.STOCK])
    with sides.ours(work, folders[sides.OURS]) as ours:
        batch_sizes = sorted({*case.batch_sizes, ours.default})
        ours.measure(batch_sizes, REPEATS.now)
        others, failed = _others(case, work, folders)
        ours.measure([ours.default], REPEATS.now)
    our_sides = {size: ours.side(size) for size in batch_sizes}
    equal = {name: _equal(folders, name, paths) for name in (sides.OURS, *PACKAGES) if name not in failed}
    return Measured(case, stock, our_sides.pop(ours.default), [*our_sides.values()], others, failed, equal)


def _others(case: Case, work: Work, folders: Mapping[str, Path]) -> tuple[list[Side], dict[str, str]]:
    """What ran on the other runtimes, and why one of them did not."""
    ran: list[Side] = []
    failed = {}
    for runtime in PACKAGES:
        try:
            ran += sides.stock(work, case.others_batch_sizes, folders[runtime], runtime)
        except RuntimeError as error:
            failed[runtime] = one_line(error)
            say(f"{runtime}: {failed[runtime]}")
    return ran, failed


def _equal(folders: Mapping[str, Path], name: str, paths: Sequence[str]) -> list[NDArray[np.bool_]]:
    """For each image, whether a side gave a pixel to stock's segment."""
    return [_map(folders[name], path) == _map(folders[sides.STOCK], path) for path in paths]


def _map(folder: Path, path: str) -> NDArray[Any]:
    """The map that a side has written, as an array or as the worker's PNG: pixels by their segment's place, from 1."""
    name = Path(path).name
    if (folder / f"{name}.npy").exists():
        places: NDArray[Any] = np.load(folder / f"{name}.npy")
        return places
    ids, header = decode((folder / f"{name}.png").read_bytes())
    places = np.zeros_like(ids)
    for place, segment in enumerate(header.segments, 1):  # a semantic segment's id is its label's, plus one
        places[ids == segment.id] = place
    return places


def _comparisons(measured: Measured) -> Iterator[Comparison]:
    name, ours = measured.case.name, measured.ours
    best = max(measured.stock, key=_rate)
    yield Comparison(
        name=f"{name}: images/s, ours at its default batch size {ours.batch_size} ÷ stock at its best "
        f"({best.batch_size})",
        value=ours.rate / best.rate,
        bar=measured.case.bar,
    )
    yield Comparison(
        name=f"{name}: pixels with the same segment", value=measured.share(sides.OURS), bar=EQUAL_BAR, unit="%"
    )
    if measured.others:
        other = max(measured.others, key=_rate)
        ratio = ours.rate / other.rate
        yield Comparison(name=f"{name}: images/s, ours ÷ {other.name}", value=ratio, bar=OTHERS_BAR)
        other = max(measured.others, key=_forward_rate)
        ratio = ours.forward_rate / other.forward_rate
        yield Comparison(name=f"{name}: the model alone, ours ÷ {other.name}", value=ratio, bar=OTHERS_BAR)


def _rate(side: Side) -> float:
    return side.rate


def _forward_rate(side: Side) -> float:
    return side.forward_rate


def _figures(measured: Measured, paths: Sequence[str]) -> Iterator[Figure]:
    portraits = sum("-portrait" in path for path in paths)
    how = (
        f"{len(paths) - portraits} photographs of 640×427 and {portraits} of 320×427 from disk, decode to mask, "
        f"{os.cpu_count()} CPU threads, one process; the model sees {measured.case.sees}"
    )
    for side in (*measured.stock, measured.ours, *measured.our_others, *measured.others):
        yield Figure(
            name=f"{measured.case.name}: {side.name}, batch size {side.batch_size}",
            value=side.rate,
            unit="images/s",
            settings=f"median of {side.runs}; {how}" if side.runs > 1 else how,
            peak_bytes=side.peak_bytes,
        )
    for side in {each.name: each for each in (*measured.stock, measured.ours, *measured.others)}.values():
        yield Figure(
            name=f"{measured.case.name}: the model alone, {side.name}",
            value=side.forward_rate,
            unit="images/s",
            settings=f"ready tensors, one image at a time, {side.forward_images} images, each size warm",
        )


def _notes(measured: Measured) -> Iterator[str]:
    stock, name = measured.stock[0], measured.case.name
    if stock.kept:
        yield (
            f"{name}: {np.mean(stock.kept):.1f} of 100 queries an image pass 0.9 (each: {stock.kept}), "
            f"segments left an image: {stock.segments}."
        )
    worst = 100 * min(float(each.mean()) for each in measured.equal[sides.OURS])
    yield (
        f"{name}: random weights, seeded. Stock batches of {' and '.join(map(str, measured.case.batch_sizes))} were "
        "tried, up to the first that did not fit into this machine's memory. Worst image of ours: "
        f"{worst:.3f} % of pixels equal."
    )
    versions = ", ".join(
        f"{runtime} {version(PACKAGES[runtime])}: {measured.share(runtime):.3f} %"
        for runtime in PACKAGES
        if runtime in measured.equal
    )
    if versions:
        yield f"{name}: pixels with stock's segment, {versions}; both in float32, exported by torch.onnx."
    yield from (f"{name} on {runtime} did not run: {reason}." for runtime, reason in measured.failed.items())
