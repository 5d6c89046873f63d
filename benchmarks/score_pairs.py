"""Pairs of true and predicted segment maps on disk: a truth in COCO panoptic, and a job's masks beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.jobs.outcomes import Paired
from maskmill.masks.segment_map import MaskHeader, areas_and_boxes, encode, narrowest
from maskmill.schema import (
    Counts,
    Execution,
    JobRecord,
    JobState,
    Manifest,
    Outcome,
    Segment,
    ShardReport,
    Spec,
    Status,
    Subtask,
    utc_now,
)
from maskmill.settings import Settings, load_settings

WIDTH, HEIGHT = 640, 480
REGIONS, CLASSES, THINGS = 12, 8, 4
SCENES = 100
"""Maps that are drawn; more pairs have these in turn, in files of their own."""

SHARD = 128
JOB = "20261127-000000-00000000"
FINGERPRINT = "0" * 32

Map = NDArray[np.uint8]


def class_of(region: int) -> int:
    """Regions 1 to 8 are things, two of each class; those from 9 on are stuff, one of each class."""
    return (region - 1) % THINGS if region <= REGIONS - THINGS else region - THINGS - 1


def scene(seed: int) -> tuple[Map, Map]:
    """A map with the curved borders of natural segments, and the same a little off: true and predicted."""
    chance = np.random.default_rng(seed)
    noise = chance.normal(size=(REGIONS, 12, 16)).astype(np.float32)
    grown = [np.asarray(Image.fromarray(each).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) for each in noise]
    true = np.argmax(grown, axis=0).astype(np.uint8) + 1
    predicted = np.roll(true, (3, 5), (0, 1))
    predicted[chance.random((HEIGHT, WIDTH)) < 0.0005] = 0
    return true, predicted


@dataclass(frozen=True)
class LocalJob:
    """A job whose reports and masks are files: a dataset's source without servers."""

    folder: Path
    contents: None = None

    @cached_property
    def settings(self) -> Settings:
        """Those of this machine."""
        return load_settings()

    @cached_property
    def record(self) -> JobRecord:
        """As it was written."""
        return JobRecord.from_json((self.folder / "job.json").read_bytes())

    @cached_property
    def manifest(self) -> Manifest:
        """An account of what is there."""
        return Manifest(
            job=JOB, state=JobState.COMPLETED, submitted=self.record.images, counts=Counts(stored=self.record.images),
            spec=self.record.spec, fingerprint=FINGERPRINT, created=utc_now(), finished=utc_now(),
        )  # fmt: skip

    @property
    def shards(self) -> int:
        """As written."""
        return self.record.shards

    @property
    def retry_round(self) -> int:
        """None was retried."""
        return 0

    @property
    def labels(self) -> Mapping[int, str]:
        """Those of the truth."""
        return {number: f"class {number}" for number in range(CLASSES)}

    def outcomes(self, shard: int) -> Sequence[Outcome]:
        """From the shard's report."""
        return ShardReport.from_json((self.folder / f"{shard:06d}.json").read_bytes()).outcomes

    def paired(self, shard: int) -> Sequence[Paired]:
        """No whole addresses are known."""
        return [(outcome, None) for outcome in self.outcomes(shard)]

    def mask(self, key: str) -> bytes:
        """The file."""
        return (self.folder / key).read_bytes()


def make_pairs(folder: Path, pairs: int) -> None:
    """`true.json` with `true/`, `predicted.json` with `predicted/` for panopticapi, and the same prediction as a job.

    Maps are those of `SCENES` scenes in turn.
    """
    sides = [scene(seed) for seed in range(min(SCENES, pairs))]
    infos = [tuple(_segments(each) for each in side) for side in sides]
    for place, name in enumerate(("true", "predicted")):
        (folder / name).mkdir(parents=True)
        for number in range(pairs):
            path = folder / name / f"{number:06d}.png"
            if number < len(sides):
                _rgb(sides[number][place]).save(path)
            else:
                path.hardlink_to(folder / name / f"{number % len(sides):06d}.png")
        _write_coco(folder / f"{name}.json", [infos[n % len(sides)][place] for n in range(pairs)])
    _write_job(
        folder, [sides[n % len(sides)][1] for n in range(pairs)], [infos[n % len(sides)][1] for n in range(pairs)]
    )


def _segments(ids: Map) -> tuple[Segment, ...]:
    """A segment for each id."""
    found = enumerate(areas_and_boxes(ids, REGIONS), 1)
    return tuple(
        Segment(id=each, label=f"class {class_of(each)}", label_id=class_of(each), score=0.9, area=area, box=box)
        for each, (area, box) in found
        if area
    )


def _rgb(ids: Map) -> Image.Image:
    return Image.fromarray(np.stack([ids, ids * 7, np.zeros_like(ids)], -1))


def _coloured(each: int) -> int:
    return each + 256 * (each * 7 % 256)


def _write_coco(path: Path, segments: Sequence[tuple[Segment, ...]]) -> None:
    images = [{"id": n, "file_name": f"{n:06d}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(len(segments))]
    annotations = [
        {
            "image_id": n,
            "file_name": f"{n:06d}.png",
            "segments_info": [
                {"id": _coloured(each.id), "category_id": each.label_id + 1, "iscrowd": 0, "area": each.area,
                 "bbox": list(each.box)}
                for each in of_image
            ],
        }
        for n, of_image in enumerate(segments)
    ]  # fmt: skip
    categories = [{"id": n + 1, "name": f"class {n}", "isthing": int(n < THINGS)} for n in range(CLASSES)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _write_job(folder: Path, maps: Sequence[Map], segments: Sequence[tuple[Segment, ...]]) -> None:
    (folder / "masks").mkdir()
    outcomes = []
    for number, (ids, of_image) in enumerate(zip(maps, segments, strict=True)):
        uri, key = f"/images/{number:06d}.jpg", f"masks/{number:06d}.jpg.png"
        header = MaskHeader(uri=uri, fingerprint=FINGERPRINT, subtask=Subtask.PANOPTIC, segments=of_image, job=JOB)
        (folder / key).write_bytes(encode(narrowest(ids), header))
        outcomes.append(
            Outcome(uri=uri, status=Status.STORED, mask_key=key, fingerprint=FINGERPRINT, width=WIDTH, height=HEIGHT,
                    segments=of_image)
        )  # fmt: skip
    shards = [outcomes[first : first + SHARD] for first in range(0, len(outcomes), SHARD)]
    for index, shard in enumerate(shards):
        report = ShardReport(
            job=JOB, shard=index, attempt=1, worker="benchmark", finished=utc_now(), outcomes=tuple(shard)
        )
        (folder / f"{index:06d}.json").write_bytes(report.to_json())
    record = JobRecord(
        job=JOB, created=utc_now(), sources=(), spec=Spec(), execution=Execution(), images=len(outcomes),
        shards=len(shards), shard_size=SHARD,
    )  # fmt: skip
    (folder / "job.json").write_bytes(record.to_json())
