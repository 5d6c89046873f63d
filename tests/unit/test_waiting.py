"""How often a waiting client looks at its job."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import pytest

from maskmill.schema import Counts, JobState, JobStatus, Manifest, Spec, utc_now
from maskmill.watch import Watch, until_next_look


@pytest.mark.parametrize("waited", [2.0, 10.0, 30.0, 50.0])
def test_a_wait_lasts_a_hundredth_longer_than_its_job(waited: float) -> None:
    assert until_next_look(waited, 0) == pytest.approx(waited / 100)


def test_short_and_long_jobs_cost_the_broker_a_bounded_number_of_questions() -> None:
    assert until_next_look(0, 0) == 0.02
    assert until_next_look(86_400, 0) == until_next_look(1, 86_400) == 0.5


def test_a_job_that_goes_on_evenly_is_looked_at_rarely_and_its_end_is_seen_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 100 images in 20 s; where nobody asks what is left, it takes 333 looks."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def status() -> JobStatus:
        stored = min(100, int(now * 5))
        return JobStatus(
            job="20261127-000000-00000000", out="s3://bucket/out", shards=1, shards_done=int(now >= 20), submitted=100,
            state=JobState.COMPLETED if now >= 20 else JobState.RUNNING, counts=Counts(stored=stored),
        )  # fmt: skip

    closed = Manifest(
        job="20261127-000000-00000000", state=JobState.COMPLETED, submitted=100, counts=Counts(stored=100),
        spec=Spec(model="demo"), fingerprint="0" * 32, created=utc_now(), finished=utc_now(),
    )  # fmt: skip
    watch = Watch("job", SimpleNamespace(), status, lambda: closed, lambda: None, _started=0.0, _reconcile_at=math.inf)  # type: ignore[arg-type]
    looks = 0
    while not watch.closed:
        watch.look()
        looks += 1
        now += watch.pause()
    assert (looks < 150, now < 20.3) == (True, True), (looks, now)
