"""Real parts for a benchmark: the embedded servers in a temporary folder, one `maskmill-worker`, jobs on them."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_memory
from maskmill import Client, Settings
from maskmill.schema import JobStatus, Manifest
from maskmill.settings import S3Settings
from maskmill_producer import embedded
from maskmill_producer.local.worker_process import WorkerProcess, worker_process

NUMBERS = itertools.count()


@dataclass(frozen=True)
class Finished:
    """A closed job: wall seconds from the call of `submit` to the manifest, and the worker's peak in bytes."""

    images: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Fleet:
    """Running workers, all below one process, and the settings that reach them."""

    settings: Settings
    environment: dict[str, str]
    process: WorkerProcess

    def run(self, sources: Sequence[str], **parameters: Any) -> Finished:
        """Submit a job from this process and wait for its manifest; raises unless every image is stored."""
        client = Client(self.settings)
        with peak_memory(self.process.pid) as peak:
            manifest, seconds = run_job(client, sources, lambda _: self.process.check(), **parameters)
        return Finished(manifest.submitted, seconds, peak.bytes)


def run_job(
    client: Client,
    sources: Sequence[str],
    on_status: Callable[[JobStatus], None] | None = None,
    **parameters: Any,
) -> tuple[Manifest, float]:
    """One job from `submit` to its manifest, and the wall seconds. Raises unless every image is stored."""
    started = time.perf_counter()
    job = client.submit(sources, overwrite=True, **parameters)  # runs of one benchmark share a prefix
    manifest = job.wait(on_status=on_status)
    seconds = time.perf_counter() - started
    if manifest.counts.stored != manifest.submitted:
        raise RuntimeError(f"{manifest.counts} of {manifest.submitted} images: {manifest.failures}")
    return manifest, seconds


@contextmanager
def servers() -> Iterator[embedded.Servers]:
    """Valkey and SeaweedFS with data in a temporary folder; both are gone when the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="maskmill-bench-", ignore_cleanup_errors=True) as folder,
        embedded.running(Path(folder)) as running,
    ):
        yield running


@contextmanager
def worker(
    running: embedded.Servers, workers: int = 1, threads: int | None = None, device: str = "cpu", **settings: Any
) -> Iterator[Fleet]:
    """Workers on one device, with a queue and an output prefix of their own; the rest is default.

    Each has so many threads for the model, unless they are to share all cores.
    """
    name = f"bench-{os.getpid()}-{next(NUMBERS)}"
    changes = {"prefix": name, "queue": name} | settings
    environment = running.environment()
    environment |= {f"MASKMILL_{key.upper()}": str(value) for key, value in changes.items()}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    where = ["--devices", device, "--workers-per-device", str(workers)] if workers > 1 else ["--device", device]
    with worker_process(where, environment, running.state_dir / f"{name}.log") as process:
        yield Fleet(settings_of(running, **changes), environment, process)


def settings_of(running: embedded.Servers, **changes: Any) -> Settings:
    """Settings of a client of these servers."""
    s3 = S3Settings(
        endpoint_url=running.s3_endpoint_url,
        access_key_id=running.access_key_id,
        secret_access_key=running.secret_access_key,
        region=running.region,
    )
    own = {"trust_submitters": True, **changes}
    return Settings(broker_url=running.broker_url, bucket=running.bucket, s3=s3, source_s3=s3, **own)
