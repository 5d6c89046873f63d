"""Results are a stream: their memory does not grow with the number of images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskmill import Client, Job, Settings
from maskmill.schema import Outcome, Segment, ShardReport, Status, utc_now
from maskmill.storage import keys
from tests.integration.finished_jobs import mask_png, submitted_job

IMAGES_A_SHARD = 500
MAX_GROWTH_KB = 25 * 1024

SEGMENTS = tuple(
    Segment(id=n + 1, label="something", label_id=n, score=0.987654, area=12345, box=(1, 2, 3, 4)) for n in range(12)
)

READ = """
import resource, sys
from collections import deque
from pathlib import Path
from maskmill import Client
from maskmill_producer.local.mirror import mirror

job = Client().job(sys.argv[1])
if sys.argv[2] == "mirror":
    number = mirror(job, Path(sys.argv[3])).there
else:
    number = sum(1 for _ in getattr(job, sys.argv[2])())
print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def large_job(client: Client, images: int, outcome: Outcome) -> Job:
    """A job in which so many images have the same outcome, in the bucket as workers would leave it."""
    job = submitted_job(client, ["one"])
    shards = images // IMAGES_A_SHARD
    outcomes = (outcome,) * IMAGES_A_SHARD
    for shard in range(shards):
        report = ShardReport(job=job.id, shard=shard, attempt=1, worker="w", finished=utc_now(), outcomes=outcomes)
        if outcome.status is Status.STORED:
            job.store.put(keys.metadata(job.id, shard), (outcome.to_json() + b"\n") * IMAGES_A_SHARD)
        job.store.put(keys.report(job.id, shard), report.to_json())
    record = job.record().model_copy(update={"images": images, "shards": shards})
    job.store.put(keys.job_record(job.id), record.to_json())
    return job


def peak_kb(job: Job, what: str, images: int, folder: Path, environment: dict[str, str]) -> int:
    """Resident memory at its highest in a process that reads all of the job."""
    command = [sys.executable, "-c", READ, job.id, what, str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    number, peak = map(int, result.stdout.split())
    assert number == images
    return peak


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["mirror", "results", "outcomes", "failures"])
def test_ten_times_the_outcomes_take_no_more_memory(
    client: Client, settings: Settings, environment: dict[str, str], tmp_path: Path, what: str
) -> None:
    failed = Outcome(uri="/photos/one.jpg", status=Status.FAILED, code="not_found", reason="no such file: " + "x" * 900)
    stored = Outcome(
        uri="/photos/one.jpg",
        status=Status.STORED,
        mask_key="masks/one.jpg.png",
        fingerprint="f" * 32,
        segments=SEGMENTS,
    )
    peaks = []
    for images in (10_000, 100_000):
        folder = tmp_path / str(images)
        (folder / "masks").mkdir(parents=True)
        (folder / "masks" / "one.jpg.png").write_bytes(mask_png(stored.uri, "f" * 32, "j", SEGMENTS))
        job = large_job(client, images, failed if what == "failures" else stored)
        peaks.append(peak_kb(job, what, images, folder, environment))

    assert peaks[1] - peaks[0] < MAX_GROWTH_KB, peaks
