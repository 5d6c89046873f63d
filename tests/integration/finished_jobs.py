"""Jobs that have ended, in a real bucket and ledger, with masks as a worker stores them; no model is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmill import Client, Job
from maskmill.jobs.account import close_job, commit_shard
from maskmill.jobs.records import current_round, read_latest_report, read_references
from maskmill.masks.segment_map import CONTENT_TYPE, MaskHeader, encode
from maskmill.schema import Outcome, Reference, Segment, ShardReport, Status, Subtask, utc_now

SIZE = 6, 4
SEGMENTS = (Segment(id=1, label="thing", label_id=3, score=0.75, area=6, box=(0, 0, 6, 1)),)


def mask_png(uri: str, fingerprint: str, job: str, segments: Sequence[Segment] = SEGMENTS) -> bytes:
    """The mask of an image whose first row is a thing."""
    ids = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    ids[0] = 1
    header = MaskHeader(uri=uri, fingerprint=fingerprint, subtask=Subtask.PANOPTIC, segments=tuple(segments), job=job)
    return encode(ids, header)


def submitted_job(client: Client, names: Sequence[str], *, threshold: float = 0.9, images: str = "/photos") -> Job:
    """A job of these image names in the folder `images`, which nobody works on."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list.txt"
        listed.write_text("".join(f"{images}/{name}.jpg\n" for name in names))
        return client.submit(listed, model="demo", threshold=threshold)


def finished_job(
    client: Client,
    names: Sequence[str],
    *,
    threshold: float = 0.9,
    failed: Collection[str] = (),
    reused: Collection[str] = (),
    images: str = "/photos",
) -> Job:
    """A job of these image names, ended: masks made by it, but for those that failed or were there."""
    job = submitted_job(client, names, threshold=threshold, images=images)
    finish(client, job, failed=dict.fromkeys(failed, "not_found"), reused=reused)
    return job


def finish(client: Client, job: Job, failed: Mapping[str, str] | None = None, reused: Collection[str] = ()) -> None:
    """End a job, or its retry round, as workers would: in a round with what failed before."""
    fingerprint, retry_round = job.record().spec.fingerprint(), current_round(job.store, job.id)

    def outcome(reference: Reference) -> Outcome:
        name = Path(reference.uri).stem
        if code := (failed or {}).get(name):
            return Outcome(uri=reference.uri, status=Status.FAILED, code=code, reason=f"{name} is gone")
        if name not in reused:
            job.store.put(reference.mask_key, mask_png(reference.uri, fingerprint, job.id), CONTENT_TYPE)
        return Outcome(
            uri=reference.uri,
            status=Status.REUSED if name in reused else Status.STORED,
            mask_key=reference.mask_key,
            fingerprint=fingerprint,
            width=SIZE[0],
            height=SIZE[1],
            segments=SEGMENTS,
        )

    for shard in range(job.record().shards):
        references = read_references(job.store, job.id, shard)
        before = read_latest_report(job.store, job.id, shard, retry_round - 1) if retry_round else None
        if before and not before.counts().failed:
            continue
        known = {index: each for index, each in enumerate(before.outcomes) if each.has_mask} if before else {}
        outcomes = tuple(known.get(index) or outcome(reference) for index, reference in enumerate(references))
        report = ShardReport(
            job=job.id,
            shard=shard,
            round=retry_round,
            attempt=1,
            worker="w",
            finished=utc_now(),
            outcomes=outcomes,
        )
        commit_shard(client.services, job.out, report)
    close_job(client.services, job.id)


def key_of(name: str) -> str:
    """The mask's key of an image name."""
    return f"masks/file/photos/{name}.jpg.png"
