"""Jobs that nobody has worked on, of any size: outcomes as a model might have them, masks and images drawn when asked.

Each image is the same whenever and in whatever order it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from maskmill.addresses import Address
from maskmill.masks.segment_map import MaskHeader, SegmentMap, encode
from maskmill.schema import (
    Counts,
    DeviceSeconds,
    Execution,
    FailureExample,
    ImageWarning,
    JobRecord,
    JobState,
    Manifest,
    Outcome,
    Reference,
    Segment,
    ShardReport,
    Spec,
    Status,
    Subtask,
)

JOB = "20261127-080000-0123abcd"
CREATED = datetime(2026, 11, 27, 8, tzinfo=UTC)
SIZE = 640, 480
MOST_SEGMENTS = 14
LABELS = (
    *("person", "car", "bicycle", "dog", "cat", "bench", "backpack", "umbrella", "traffic light", "bus", "truck"),
    *("chair", "potted plant", "handbag", "bird", "bottle", "kite", "boat", "clock", "horse"),
    *("sky-other-merged", "tree-merged", "grass-merged", "road", "building-other-merged", "wall-other-merged", "sea"),
)
FAILURES = (
    ("not_found", "no such file"),
    ("not_found", "no such file"),
    ("truncated", "JPEG: image file is truncated (12 bytes not processed)"),
    ("timeout", "https://photos.example.org/17.jpg: nothing came for 30 s"),
)
SHARD, SHARD_SECONDS = 256, 9.0
FINGERPRINT = Spec().fingerprint()


def record(images: int, folder: str = "/data/photos") -> JobRecord:
    """What was submitted: so many images below a folder."""
    return JobRecord(
        job=JOB,
        created=CREATED,
        sources=(Address(folder),),
        root=folder,
        spec=Spec(),
        execution=Execution(batch_size="auto"),
        found=images + 3,
        left_out={"hidden": 2, "not_an_image_name": 1},
        left_out_examples={"hidden": f"{folder}/.DS_Store", "not_an_image_name": f"{folder}/notes.txt"},
        images=images,
        shards=-(-images // SHARD),
        shard_size=SHARD,
        software={"maskmill": "0.1.0"},
    )


def reference(number: int, folder: str = "/data/photos") -> Reference:
    """Where an image is."""
    name = f"2026/{number // 500:04d}/IMG_{number:06d}.jpg"
    return Reference(uri=Address(f"{folder}/{name}"), mask_key=f"masks/{name}.png")


def outcome(number: int, folder: str = "/data/photos") -> Outcome:
    """What became of an image: two of a hundred have failed."""
    random, where = np.random.default_rng(number), reference(number, folder)
    if number % 50 == 7:
        code, reason = FAILURES[number // 50 % len(FAILURES)]
        return Outcome(uri=where.uri, status=Status.FAILED, code=code, reason=f"{where.uri}: {reason}")
    warned = (ImageWarning(code="alpha_dropped", reason="transparency is dropped"),) if number % 90 == 11 else None
    return Outcome(
        uri=where.uri,
        status=Status.STORED,
        mask_key=where.mask_key,
        fingerprint=FINGERPRINT,
        width=SIZE[0],
        height=SIZE[1],
        segments=tuple(_segments(random)),
        warnings=warned,
        seconds=_SECONDS,
    )


_SECONDS = {
    "fetch": 0.011,
    "decode": 0.008,
    "preprocess": 0.006,
    "forward": 0.021,
    "postprocess": 0.007,
    "encode": 0.002,
    "upload": 0.009,
}


def _segments(random: np.random.Generator) -> Iterator[Segment]:
    for place in range(int(random.integers(0, MOST_SEGMENTS + 1))):
        label = min(len(LABELS) - 1, int(random.exponential(7)))
        width, height = (int(random.integers(4, side // 2)) for side in SIZE)
        box = int(random.integers(0, SIZE[0] - width)), int(random.integers(0, SIZE[1] - height)), width, height
        score = round(float(random.beta(12, 1.2)), 4)
        area = max(1, round(width * height * 0.785))
        yield Segment(id=place + 1, label=LABELS[label], label_id=label, score=score, area=area, box=box)


def report(images: int, shard: int, folder: str = "/data/photos") -> ShardReport:
    """The outcomes of one shard, by one of two workers."""
    numbers = range(shard * SHARD, min(images, (shard + 1) * SHARD))
    return ShardReport(
        job=JOB,
        shard=shard,
        attempt=1,
        worker=f"gpu-{shard % 2}",
        finished=CREATED + timedelta(seconds=20 + SHARD_SECONDS * (shard // 2 + 1) + 3 * math.sin(shard / 9)),
        outcomes=tuple(outcome(number, folder) for number in numbers),
        device=DeviceSeconds(busy=SHARD_SECONDS * 0.81, loading=SHARD_SECONDS * 0.16, storing=SHARD_SECONDS * 0.03),
    )


def manifest(images: int) -> Manifest:
    """The account at the end."""
    failed = list(range(7, images, 50))
    codes = [FAILURES[number // 50 % len(FAILURES)] for number in failed]
    numbers = {code: sum(each == code for each, _ in codes) for code, _ in codes}
    warned = sum(number % 50 != 7 for number in range(11, images, 90))
    examples = {
        code: FailureExample.of(outcome(n).uri, outcome(n).reason) for (code, _), n in zip(codes, failed, strict=True)
    }
    if warned:
        found = outcome(11)
        examples["alpha_dropped"] = FailureExample.of(found.uri, "transparency is dropped: what it hides is seen")
    return Manifest(
        job=JOB,
        state=JobState.COMPLETED_WITH_FAILURES if failed else JobState.COMPLETED,
        found=images + 3,
        left_out=record(images).left_out,
        left_out_examples=record(images).left_out_examples,
        submitted=images,
        counts=Counts(stored=images - len(failed), failed=len(failed)),
        failures=numbers,
        warnings={"alpha_dropped": warned} if warned else {},
        examples=examples,
        spec=Spec(),
        fingerprint=FINGERPRINT,
        created=CREATED,
        finished=CREATED + timedelta(seconds=20 + SHARD_SECONDS * (images // SHARD // 2 + 1)),
    )


def segment_map(found: Outcome) -> SegmentMap:
    """Ellipses in the segments' boxes, small ones above large ones."""
    ids = Image.new("L", SIZE)
    draw = ImageDraw.Draw(ids)
    for each in sorted(found.segments or (), key=lambda segment: -segment.area):
        x, y, width, height = each.box
        draw.ellipse((x, y, x + width - 1, y + height - 1), fill=each.id)
    return np.asarray(ids)


def mask_png(found: Outcome) -> bytes:
    """The mask of an image, as a worker stores it."""
    header = MaskHeader(
        uri=str(found.uri),
        fingerprint=FINGERPRINT,
        subtask=Subtask.PANOPTIC,
        segments=found.segments or (),
        job=JOB,
    )
    return encode(segment_map(found), header)


def image_jpeg(found: Outcome) -> bytes:
    """A picture in which the segments are shades on a ground of its own."""
    ids, random = segment_map(found), np.random.default_rng(len(found.uri) + int(str(found.uri)[-10:-4]))
    shades = random.integers(40, 220, (MOST_SEGMENTS + 1, 3))
    pixels = shades[ids] * 0.7 + _ground() * 0.3
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


@cache
def _ground() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC))
