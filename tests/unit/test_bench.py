from __future__ import annotations

import pytest

from maskmill.schema import Counts, DeviceSeconds, JobState, JobStatus
from maskmill_producer.cli.display import bench_json
from maskmill_producer.local.bench import STAGES, BenchResult, Stage, side_by_side

STATUS = JobStatus(
    job="20261122-205301-9f86d081",
    out="s3://b/p",
    state=JobState.COMPLETED,
    submitted=10,
    counts=Counts(stored=10),
    shards=1,
    shards_done=1,
)
AT_A_TIME = {"fetch": 16, "decode": 2, "preprocess": 2, "forward": 1, "postprocess": 1, "encode": 8, "upload": 8}


def result(device: DeviceSeconds, **seconds: float) -> BenchResult:
    stages = tuple(Stage(name, seconds.get(name, 0.001), AT_A_TIME[name]) for name in STAGES)
    return BenchResult(STATUS, stages, device, images=10)


MODEL_BOUND = DeviceSeconds(busy=9.5, loading=0.4, storing=0.1)
LOADING = DeviceSeconds(busy=2.0, loading=7.5, storing=0.5)
STORING = DeviceSeconds(busy=2.0, loading=0.5, storing=7.5)


@pytest.mark.parametrize(
    ("device", "seconds", "words"),
    [
        (MODEL_BOUND, {"forward": 0.9}, "the model is the limit"),
        (MODEL_BOUND, {"forward": 0.1, "postprocess": 0.8}, "post-processing"),
        (LOADING, {"fetch": 9.0}, "waiting on fetch"),
        (LOADING, {"fetch": 0.2, "decode": 0.5, "preprocess": 0.1}, "waiting on decode: raise --num-workers"),
        (LOADING, {"decode": 0.1, "preprocess": 0.5}, "waiting on preprocess: raise --num-workers"),
        (STORING, {"upload": 5.0}, "waiting on upload"),
    ],
)
def test_the_verdict_names_what_holds_the_job_up(device: DeviceSeconds, seconds: dict[str, float], words: str) -> None:
    assert words in result(device, **seconds).verdict


def test_figures_are_those_of_the_time_measured() -> None:
    measured = result(MODEL_BOUND, forward=0.5)
    assert (measured.seconds, measured.images_per_second, measured.busy) == (10.0, 1.0, 0.95)
    assert measured.stage("forward").capacity == 2.0
    assert measured.stage("fetch").capacity == 16_000.0


def test_batches_that_ran_side_by_side_took_longer_than_the_worker() -> None:
    assert [side_by_side(seconds, 10.0) for seconds in (0.0, 9.0, 17.0)] == [1, 1, 2]
    assert side_by_side(0.0, 0.0) == 1


def test_machines_get_the_same_figures() -> None:
    document = bench_json(result(LOADING, fetch=9.0))
    assert document["device_busy"] == 0.2
    assert document["stages"]["fetch"] == {"seconds": 9.0, "at_a_time": 16}
    assert document["stages"].keys() == set(STAGES)
