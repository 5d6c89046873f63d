"""A client in a process of its own for benchmark E: submits a job, waits for it, tells its own memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psutil

from benchmarks.child import serve
from benchmarks.fleet import run_job
from benchmarks.scale import say
from maskmill import Client
from maskmill.schema import JobStatus

SAY_SECONDS = 15.0


class Progress:
    """A line on stderr now and then."""

    def __init__(self) -> None:
        self.started = self.said = time.monotonic()

    def __call__(self, status: JobStatus) -> None:
        """Take one status of the job."""
        now = time.monotonic()
        if now - self.said >= SAY_SECONDS:
            self.said = now
            say(f"{status.counts.stored:,} of {status.submitted:,} after {now - self.started:.0f} s")


def run(sources: Sequence[str], model: str) -> dict[str, Any]:
    """One job from `submit` to its manifest."""
    manifest, seconds = run_job(Client(), sources, Progress(), model=model)
    return {"images": manifest.submitted, "seconds": seconds, "rss_bytes": psutil.Process().memory_info().rss}


if __name__ == "__main__":
    serve({"run": run})
