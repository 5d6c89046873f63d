"""Benchmark G: from segments in memory to objects in the store, without a model.

Ours is what an upload thread of the worker does: one PNG with ids and header, one put. The other side stores what the
stock pipeline returns, one mask a segment, each as a PNG of Pillow's defaults, with a boto3 client of boto3's defaults.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from PIL import Image

from benchmarks.fleet import servers as fresh_servers
from benchmarks.fleet import settings_of
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent
from demo.scenes import HELD_OUT_SEEDS, generate_scene
from maskmill.masks.segment_map import (
    CONTENT_TYPE,
    MaskHeader,
    SegmentMap,
    areas_and_boxes,
    encode,
    narrowest,
    pipeline_output,
)
from maskmill.schema import Segment, Subtask
from maskmill.services import Services
from maskmill_producer import embedded

TITLE = "Encoding and storing masks alone: one segment map an image, or one PNG a segment"

SIZE = (640, 480)
SCENES = 12
MIN_SEGMENTS = 7
IMAGES = Extent(96, quick=48)
ROUNDS = Extent(3, quick=1)
STOCK_THREADS = (4, 8, 16)


@dataclass(frozen=True)
class Picture:
    """One image's segments, as the worker has them and as the stock pipeline returns them."""

    ids: SegmentMap
    header: MaskHeader
    masks: tuple[Image.Image, ...]


@dataclass
class Side:
    """One way to store a picture under a name; it returns the bytes stored."""

    store: Callable[[Picture, str], int]
    threads: int
    rates: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def measure(self, pictures: Sequence[Picture], round_name: str) -> None:
        """One round of `IMAGES` images."""
        images = IMAGES.now
        names = [f"{round_name}/{self.threads}/{number}" for number in range(images)]
        shown = [pictures[number % len(pictures)] for number in range(images)]
        with ThreadPoolExecutor(self.threads) as pool:
            started = time.perf_counter()
            stored = sum(pool.map(self.store, shown, names))
        self.rates.append(images / (time.perf_counter() - started))
        self.sizes.append(stored / images)


def run() -> Result:
    """Rounds of ours and of the stock way with several numbers of threads in turn; its best counts."""
    rich = (picture for picture in map(_picture, HELD_OUT_SEEDS) if len(picture.masks) >= MIN_SEGMENTS)
    pictures = list(itertools.islice(rich, SCENES))
    with fresh_servers() as servers:
        services = Services.connect(settings_of(servers))
        ours = Side(_ours(services), services.settings.upload_threads)
        stock = [Side(_stock(servers, threads), threads) for threads in STOCK_THREADS]
        for number in range(ROUNDS.now + 1):
            for side in (ours, *stock):
                side.measure(pictures, f"round{number}")
                if number == 0:  # connections are made and the store wakes up
                    side.rates.clear()
    return _result(pictures, ours, max(stock, key=lambda side: median(side.rates)))


def _picture(seed: int) -> Picture:
    scene = generate_scene(seed, SIZE)
    ids = narrowest(scene.segment_map)
    segments = tuple(
        Segment(id=each.id, label=each.label, label_id=each.label_id, score=0.987654, area=area, box=box)
        for each, (area, box) in zip(scene.segments, areas_and_boxes(ids, len(scene.segments)), strict=True)
    )
    header = MaskHeader(uri=f"/scenes/{seed}.png", fingerprint="0" * 32, subtask=Subtask.PANOPTIC, segments=segments)
    masks = tuple(output["mask"] for output in pipeline_output(ids, segments))
    return Picture(ids, header, masks)


def _ours(services: Services) -> Callable[[Picture, str], int]:
    store = services.store(services.settings.out)

    def put(picture: Picture, name: str) -> int:
        png = encode(picture.ids, picture.header)
        store.put(f"masks/{name}.png", png, CONTENT_TYPE)
        return len(png)

    return put


def _stock(servers: embedded.Servers, threads: int) -> Callable[[Picture, str], int]:
    client: Any = boto3.client(
        "s3",
        endpoint_url=servers.s3_endpoint_url,
        region_name=servers.region,
        aws_access_key_id=servers.access_key_id,
        aws_secret_access_key=servers.secret_access_key,
        config=Config(max_pool_connections=threads),
    )

    def put(picture: Picture, name: str) -> int:
        pngs = [_pillow_png(mask) for mask in picture.masks]
        for number, png in enumerate(pngs):
            client.put_object(Bucket=servers.bucket, Key=f"stock/{name}/{number}.png", Body=png)
        return sum(map(len, pngs))

    return put


def _pillow_png(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def _encode_milliseconds(encoder: Callable[[Picture], object], pictures: Sequence[Picture]) -> float:
    """Processor time of one thread for one picture: the least of each picture's five, then the mean."""
    return sum(min(_thread_seconds(encoder, picture) for _ in range(5)) for picture in pictures) / len(pictures) * 1e3


def _thread_seconds(encoder: Callable[[Picture], object], picture: Picture) -> float:
    started = time.thread_time()
    encoder(picture)
    return time.thread_time() - started


def _result(pictures: Sequence[Picture], ours: Side, stock: Side) -> Result:
    segments = sum(len(picture.masks) for picture in pictures) / len(pictures)
    what = f"{IMAGES.now} images of 640 × 480 with {segments:.1f} segments, median of {ROUNDS.now}"
    our_encode = _encode_milliseconds(lambda picture: encode(picture.ids, picture.header), pictures)
    stock_encode = _encode_milliseconds(lambda picture: list(map(_pillow_png, picture.masks)), pictures)
    figures = []
    for name, side, encoding in (("segment maps (ours)", ours, our_encode), ("a PNG a segment", stock, stock_encode)):
        figures += [
            Figure(name=name, value=median(side.rates), unit="images/s", settings=f"{side.threads} threads, {what}"),
            Figure(name=f"{name}: stored", value=side.sizes[0], unit="bytes an image", settings="PNG, segments' text"),
            Figure(
                name=f"{name}: encoding", value=encoding, unit="ms an image", settings="one thread's processor time"
            ),
        ]
    speed = median(ours.rates) / median(stock.rates)
    return Result(figures=figures, comparisons=[Comparison(name="images stored a second", value=speed, bar=4)])
