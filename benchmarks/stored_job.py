"""A job of made scenes that has ended, in real servers, without a model: what exports and reports begin with."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from benchmarks.scale import say
from demo.scenes import HELD_OUT_SEEDS, generate_scene
from maskmill import Client, Job, Settings
from maskmill.cores import usable_cores
from maskmill.dataset.in_processes import Pool
from maskmill.jobs.account import close_job, commit_shard
from maskmill.jobs.records import read_references
from maskmill.masks.segment_map import CONTENT_TYPE, MaskHeader, SegmentMap, areas_and_boxes, encode, narrowest
from maskmill.schema import ModelClasses, Outcome, Reference, Segment, ShardReport, Status, Subtask, utc_now
from maskmill.storage import keys

SIZE = (640, 480)
SEGMENTS = 7
SCENES = 12
THREADS = 8


@dataclass(frozen=True)
class Scene:
    """A segment map, and what it holds."""

    ids: SegmentMap
    segments: tuple[Segment, ...]


@cache
def scenes() -> tuple[Scene, ...]:
    """Held-out scenes of 640 × 480, of each the first seven segments."""
    drawn = (generate_scene(seed, SIZE) for seed in HELD_OUT_SEEDS)
    rich = itertools.islice((scene for scene in drawn if len(scene.segments) >= SEGMENTS), SCENES)
    made = []
    for scene in rich:
        ids = narrowest(scene.segment_map * (scene.segment_map <= SEGMENTS))
        measured = areas_and_boxes(ids, SEGMENTS)
        kept = zip(scene.segments[:SEGMENTS], measured, strict=True)
        segments = tuple(
            Segment(id=each.id, label=each.label, label_id=each.label_id, score=0.987654, area=area, box=box)
            for each, (area, box) in kept
        )
        made.append(Scene(ids, segments))
    return tuple(made)


def stored_job(settings: Settings, images: int, folder: Path) -> Job:
    """A job of so many images, which nobody ever reads; each has a mask of its own in the store."""
    listed = folder / f"{images}.txt"
    listed.write_text("".join(f"https://images.example/{number:07d}.jpg\n" for number in range(images)))
    job = Client(settings).submit(listed, model="demo")
    labels = {each.label_id: str(each.label) for scene in scenes() for each in scene.segments}
    job.store.put(keys.classes(job.id), ModelClasses(id2label=labels).to_json())
    with Pool(partial(_opened, settings, job.out, job.id, scenes()), usable_cores()) as pool:
        done = 0
        for stored in pool.map(_store_shard, range(job.record().shards)):
            if (done + stored) // 10_000 > done // 10_000:
                say(f"{done + stored:,} masks stored")
            done += stored
    close_job(Client(settings).services, job.id)
    return job


def _opened(settings: Settings, out: str, job: str, made: tuple[Scene, ...]) -> tuple[Job, tuple[Scene, ...]]:
    """What each process works with; to draw the scenes takes seconds."""
    return Client(settings).job(job, out), made


def _store_shard(opened: tuple[Job, tuple[Scene, ...]], shard: int) -> int:
    job, made = opened
    references = list(read_references(job.store, job.id, shard))
    fingerprint = job.record().spec.fingerprint()
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = tuple(pool.map(partial(_stored, job, fingerprint), references, itertools.cycle(made)))
    report = ShardReport(job=job.id, shard=shard, attempt=1, worker="w", finished=utc_now(), outcomes=outcomes)
    commit_shard(job.services, job.out, report)
    return len(outcomes)


def _stored(job: Job, fingerprint: str, reference: Reference, scene: Scene) -> Outcome:
    header = MaskHeader(
        uri=reference.uri, fingerprint=fingerprint, subtask=Subtask.PANOPTIC, segments=scene.segments, job=job.id
    )
    job.store.put(reference.mask_key, encode(scene.ids, header), CONTENT_TYPE)
    return Outcome(
        uri=reference.uri,
        status=Status.STORED,
        mask_key=reference.mask_key,
        fingerprint=fingerprint,
        width=SIZE[0],
        height=SIZE[1],
        segments=scene.segments,
    )
