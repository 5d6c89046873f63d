"""A. DETR-ResNet-50 panoptic at its real size: image file to mask, against the stock pipeline."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.child import Child, child
from benchmarks.images import benchmark_photographs
from benchmarks.memory import peak_memory
from benchmarks.models import COCO_SIZE, detr
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import say, scaled
from maskmill.masks.segment_map import decode

TITLE = "DETR-ResNet-50 panoptic at its real size, image file to mask"
IMAGES = 6
STOCK_BATCH_SIZES = (1, 2, 4)
OUR_BATCH_SIZES = (1, 2, 4)
OUR_REPEATS = 3
SPARE_BYTES = 2 * 2**30
"""Left to the rest of the machine."""

BAR = 6.0
EQUAL_BAR = 99.9


@dataclass
class Side:
    """One run of one side: images a second, its process's peak, and how it was run."""

    batch_size: int
    rate: float
    peak_bytes: int
    kept: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)


def run() -> Result:
    """Both sides on the same photographs; the stock side with its best batch size, ours with the default one."""
    model = detr(COCO_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(path) for path in benchmark_photographs(Path(folder))][: scaled(IMAGES)]
        with child("stock") as process:
            process.ask("load", model=str(model), warm_up=paths[-1], max_bytes=_free_bytes())
            tried = [_stock(process, paths, size, folder) for size in STOCK_BATCH_SIZES[: len(paths)]]
            stock = [side for side in tried if side]
        with child("ours") as process:
            default = process.ask("load", model=str(model), warm_up=paths[-1])["batch_size"]
            sizes = sorted({*OUR_BATCH_SIZES, default})
            ours = {size: _ours(process, paths, size, folder) for size in sizes}
        shares = [_equal_share(Path(folder) / Path(path).name) for path in paths]
    return _result(paths, stock, ours, default, shares)


def _free_bytes() -> int:
    """Stock's mask head copies 256 channels at a quarter of the size for all 100 queries: batches may not fit."""
    return psutil.virtual_memory().available - SPARE_BYTES


def _stock(process: Child, paths: list[str], batch_size: int, folder: str) -> Side | None:
    """None where the batch does not fit into memory."""
    with peak_memory(process.pid) as peak:
        answer = process.ask("segment", paths=paths, batch_size=batch_size, folder=folder)
    if "failed" in answer:
        say(f"stock, batch size {batch_size}: {answer['failed']}")
        return None
    say(f"stock, batch size {batch_size}: {answer['seconds'] / len(paths):.2f} s an image, kept {answer['kept']}")
    return Side(batch_size, len(paths) / answer["seconds"], peak.bytes, answer["kept"], answer["segments"])


def _ours(process: Child, paths: list[str], batch_size: int, folder: str) -> Side:
    with peak_memory(process.pid) as peak:
        answers = [
            process.ask("segment", paths=paths, batch_size=batch_size, folder=folder) for _ in range(OUR_REPEATS)
        ]
    seconds = float(np.median([answer["seconds"] for answer in answers]))
    say(f"ours, batch size {batch_size}: {seconds / len(paths):.2f} s an image")
    return Side(batch_size, len(paths) / seconds, peak.bytes)


def _equal_share(path: Path) -> NDArray[np.bool_]:
    """For each pixel, whether both sides gave it to the same segment, in the pipeline's order."""
    ids, _ = decode(path.with_name(f"{path.name}.png").read_bytes())
    stock: NDArray[np.uint8] = np.load(path.with_name(f"{path.name}.npy"))
    equal: NDArray[np.bool_] = stock == ids
    return equal


def _result(
    paths: list[str], stock: list[Side], ours: dict[int, Side], default: int, shares: list[NDArray[np.bool_]]
) -> Result:
    best = max(stock, key=lambda side: side.rate)
    equal = 100 * float(np.mean(np.concatenate([share.ravel() for share in shares])))
    worst = 100 * min(float(share.mean()) for share in shares)
    many = "640×427 photographs" if len(paths) <= 4 else "four 640×427 and two 320×427 photographs"
    where = f"{many} ({len(paths)} images) from disk, decode to mask, 2 CPU threads, one process"
    return Result(
        figures=[
            *(_figure("stock pipeline", side, f"batches of equal image size; {where}") for side in stock),
            *(
                _figure("Maskmill's worker classes", side, f"median of {OUR_REPEATS}; {where}")
                for side in ours.values()
            ),
        ],
        comparisons=[
            Comparison(
                name=f"images/s, ours at its default batch size {default} ÷ stock at its best ({best.batch_size})",
                value=ours[default].rate / best.rate,
                bar=BAR,
            ),
            Comparison(name="pixels with the same segment", value=equal, bar=EQUAL_BAR, unit="%"),
        ],
        notes=[_kept(best, worst)],
    )


def _kept(stock: Side, worst: float) -> str:
    return (
        f"Random weights, seeded: {np.mean(stock.kept):.1f} of 100 queries an image pass 0.9 (each: {stock.kept}), "
        f"segments left an image: {stock.segments}. Worst image: {worst:.3f} % of pixels equal. "
        f"Stock batches of {' and '.join(map(str, STOCK_BATCH_SIZES))} were tried; one without a figure did not fit "
        "into this machine's memory. The image processor resizes 640×427 to 1199×800 pixels, 320×427 to 800×1067."
    )


def _figure(name: str, side: Side, settings: str) -> Figure:
    return Figure(
        name=f"{name}, batch size {side.batch_size}",
        value=side.rate,
        unit="images/s",
        settings=settings,
        peak_bytes=side.peak_bytes,
    )
