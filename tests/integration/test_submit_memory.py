"""Submission is a stream: its memory does not grow with the number of references."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REFERENCES = 100_000
MAX_GROWTH_BYTES = 60 * 2**20

SUBMIT = """
import sys
import psutil
from maskmill import Client

peaks = []
job = Client().submit(sys.argv[1], model="demo", on_images=lambda n: peaks.append(psutil.Process().memory_info().rss))
print(job.record().images, job.record().shards, peaks[20], max(peaks))
"""


@pytest.mark.slow
def test_a_hundred_thousand_references_take_no_more_memory_than_a_few_thousand(
    environment: dict[str, str], tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    with listed.open("w") as file:
        file.writelines(f"https://example.org/a/rather/deep/folder/of/images/{n:09d}.jpg\n" for n in range(REFERENCES))

    result = subprocess.run(
        [sys.executable, "-c", SUBMIT, listed], env=environment, capture_output=True, text=True, timeout=280
    )

    assert result.returncode == 0, result.stderr
    images, shards, early, peak = map(int, result.stdout.split())
    assert (images, shards) == (REFERENCES, 64 + 64 + -(-(REFERENCES - 64 * 128 - 64 * 256) // 512))
    assert peak - early < MAX_GROWTH_BYTES
