"""A made job with all that is hard about masks, in a real store: no model, no worker.

Rings and a cat in the hole of one, a car in two parts, touching cats, one pixel, a line of one pixel, parts that touch
at a corner, sky in two segments, 400 segments, an empty image, a photograph on its side, and two of one stem.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from maskmill import Client, Job
from maskmill.jobs.account import close_job, commit_shard
from maskmill.jobs.records import read_references
from maskmill.masks.segment_map import CONTENT_TYPE, MaskHeader, areas_and_boxes, encode, narrowest
from maskmill.schema import ModelClasses, Outcome, Segment, ShardReport, Status, Subtask, utc_now
from maskmill.storage import keys
from maskmill.storage.download import file_version

LABELS = {0: "person", 1: "car", 2: "cat", 3: "sky-other-merged", 4: "N/A", 7: "traffic light"}
"""As a model's `id2label`, with numbers that are missing; names of COCO panoptic."""

THINGS = {"person", "car", "cat", "traffic light"}

Map: TypeAlias = NDArray[np.integer]


@dataclass(frozen=True)
class Scene:
    """A segment map, and for each id a label and a score."""

    ids: Map
    of: Mapping[int, tuple[int, float | None]]
    labels: Mapping[int, str | int | None] = field(default_factory=lambda: LABELS)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """As the pipeline gives them."""
        ids = narrowest(self.ids)
        measured = dict(enumerate(areas_and_boxes(ids, max(self.of, default=0)), 1))
        return tuple(
            Segment(
                id=each, label=self.labels[label_id], label_id=label_id, score=score,
                area=measured[each][0], box=measured[each][1],
            )
            for each, (label_id, score) in self.of.items()
        )  # fmt: skip


def _crowded() -> Scene:
    ids = np.zeros((480, 640), np.uint8)
    ids[:100, :300] = 7
    ids[:60, 300:] = 10  # the same sky, in two segments
    rows, columns = np.mgrid[:480, :640]
    distance = (rows - 250) ** 2 + (columns - 150) ** 2
    ids[(distance < 90**2) & (distance > 40**2)] = 1  # a ring, and a cat in its hole
    ids[distance < 20**2] = 2
    ids[300:350, 300:360] = ids[300:350, 400:460] = 3  # a car in two parts
    ids[400:440, 300:340], ids[400:440, 340:380] = 4, 5  # cats that touch
    ids[470, 630] = 6  # one pixel
    ids[460, 500:620] = 8  # a line of one pixel
    ids[200:210, 500:510] = ids[210:220, 510:520] = 9  # parts that touch at a corner
    return Scene(
        ids,
        {
            1: (0, 0.99), 2: (2, 0.95), 3: (1, 0.97), 4: (2, 0.8), 5: (2, 0.7), 6: (7, 0.6), 7: (3, 0.99), 8: (7, 0.55),
            9: (1, 0.91), 10: (3, 0.9),
        },
    )  # fmt: skip


def _many() -> Scene:
    ids, of = np.zeros((200, 300), np.uint16), dict[int, tuple[int, float | None]]()
    for row in range(0, 200, 10):
        for column in range(0, 300, 15):
            each = len(of) + 1
            ids[row : row + 8, column : column + 12] = each
            of[each] = (each % 3, round(0.5 + (each % 50) / 100, 3))
    return Scene(ids, of)


def _small() -> Scene:
    ids = np.zeros((5, 7), np.uint8)
    ids[0, 0], ids[1:4, 2:6] = 1, 2
    return Scene(ids, {1: (0, 0.9), 2: (1, 0.8)})


def _whole() -> Scene:
    return Scene(np.ones((30, 40), np.uint8), {1: (3, None)})


def _upright() -> Scene:
    ids = np.zeros((60, 40), np.uint8)
    ids[5:20, 5:15], ids[40:60, :] = 1, 2
    return Scene(ids, {1: (2, 0.9), 2: (3, 0.8)})


SCENES: Mapping[str, Scene] = {
    "a/crowded.jpg": _crowded(),
    "a/small.png": _small(),
    "a/whole.jpg": _whole(),
    "b/empty.jpg": Scene(np.zeros((64, 48), np.uint8), {}),
    "b/many.png": _many(),
    "b/turned.jpg": _upright(),
    "b/twice.jpg": _small(),
    "b/twice.png": _small(),
    "c/odd [x] é #1.jpg": _small(),
}

TURNED = "b/turned.jpg"
"""Its file lies on its side, and its EXIF block says so."""


def write_images(root: Path, scenes: Mapping[str, Scene] = SCENES) -> None:
    """A picture for each scene, in colours of its segments."""
    for name, scene in scenes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        palette = np.random.default_rng(1).integers(30, 255, (int(scene.ids.max(initial=0)) + 1, 3), np.uint8)
        picture = Image.fromarray(palette[scene.ids])
        exif = Image.Exif()
        if name == TURNED:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
            exif[ExifTags.Base.Orientation] = 6
        picture.save(path, exif=exif)


def made_job(client: Client, root: Path, scenes: Mapping[str, Scene] = SCENES, **parameters: object) -> Job:
    """A job of these scenes' images below `root`, and of one that failed, ended; masks as a worker stores them."""
    write_images(root, scenes)
    (root / "z").mkdir(exist_ok=True)
    (root / "z" / "broken.jpg").write_bytes(b"no image")
    job = client.submit(root, root=root, model="demo", **parameters)  # type: ignore[arg-type]
    labels = dict(ChainMap(*(dict(scene.labels) for scene in scenes.values())))
    job.store.put(
        keys.classes(job.id),
        ModelClasses(id2label={each: str(title) for each, title in labels.items() if title}).to_json(),
    )
    fingerprint = job.record().spec.fingerprint()
    for shard in range(job.record().shards):
        outcomes = []
        for reference in read_references(job.store, job.id, shard):
            scene = scenes.get(str(Path(reference.uri).relative_to(root.resolve())))
            if scene is None:
                outcomes.append(
                    Outcome(uri=reference.uri, status=Status.FAILED, code="not_an_image", reason="no image")
                )
                continue
            header = MaskHeader(
                uri=reference.uri, fingerprint=fingerprint, subtask=Subtask.PANOPTIC, segments=scene.segments,
                image_version=file_version(Path(reference.uri).stat()), job=job.id,
            )  # fmt: skip
            job.store.put(reference.mask_key, encode(narrowest(scene.ids), header), CONTENT_TYPE)
            outcomes.append(
                Outcome(
                    uri=reference.uri, status=Status.STORED, mask_key=reference.mask_key, fingerprint=fingerprint,
                    width=scene.ids.shape[1], height=scene.ids.shape[0], segments=scene.segments,
                )
            )  # fmt: skip
        report = ShardReport(
            job=job.id, shard=shard, attempt=1, worker="w", finished=utc_now(), outcomes=tuple(outcomes)
        )  # fmt: skip
        commit_shard(client.services, job.out, report)
    close_job(client.services, job.id)
    return job
