"""What every benchmark of a whole job stands on; the benchmarks themselves take an hour (`make bench`)."""

from __future__ import annotations

import pytest

from benchmarks import fleet
from benchmarks.apart import measured_apart
from benchmarks.scale import QUICK
from maskmill_producer import embedded
from tests.conftest import DEMO_SAMPLES


def test_a_benchmark_has_its_job_done_by_a_worker_of_its_own(servers: embedded.Servers) -> None:
    with fleet.worker(servers, shard_size=9) as worker:
        finished = worker.run([str(DEMO_SAMPLES)], model="demo")
    assert finished.images == 18
    assert finished.rate > 0
    assert finished.peak_bytes > 2**28


def test_a_benchmark_in_a_process_of_its_own_gives_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUICK, "1")
    kept = measured_apart("I", 600.0)
    assert kept.failed is None
    assert kept.result
    assert kept.reduced
