"""Benchmark F: the command `maskmill submit` with a local list of a million references.

The clock runs from the start of the producer's process to its end: the interpreter's start is in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis

from benchmarks.fleet import servers as fresh_servers
from benchmarks.fleet import settings_of
from benchmarks.memory import peak_memory
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent
from maskmill import Client
from maskmill.broker.connection import connect
from maskmill.schema import Reference
from maskmill.storage import keys
from maskmill_producer import embedded

TITLE = "Submitting a million references: list file → shards in the bucket → admitted"

REFERENCES = Extent(1_000_000, quick=100_000)
ROUNDS = Extent(2, quick=1)
URL = "https://example.org/a/rather/deep/folder/of/images/{:09d}.jpg"
PRODUCER = [
    sys.executable,
    "-c",
    "from maskmill_producer.entry import main; main()",
    "submit",
    "--model",
    "demo",
    "--json",
]


@dataclass
class Runs:
    """What the runs with one list file took: seconds, peak bytes of the producer, bytes in the broker."""

    seconds: list[float] = field(default_factory=list)
    producer_bytes: list[int] = field(default_factory=list)
    broker_bytes: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """References a second, of the median run."""
        return REFERENCES.now / median(self.seconds)


def run() -> Result:
    """The four kinds of list in turn, so that all meet the machine's good and bad minutes."""
    with tempfile.TemporaryDirectory() as folder, fresh_servers() as servers:
        runs = {path: Runs() for path in _write_lists(Path(folder))}
        for _ in range(ROUNDS.now):
            for path, found in runs.items():
                _submit(path, servers, found)
    return _result({path.suffix: found for path, found in runs.items()})


def _write_lists(folder: Path) -> list[Path]:
    uris = list(map(URL.format, range(REFERENCES.now)))
    writers: dict[str, Callable[[str], str]] = {
        "txt": "{}\n".format,
        "csv": "{},0\n".format,
        "jsonl": '{{"uri": "{}"}}\n'.format,
    }
    for extension, line in writers.items():
        _write_lines(folder / f"list.{extension}", "uri,label\n" if extension == "csv" else "", map(line, uris))
    pq.write_table(pa.table({"uri": uris}), folder / "list.parquet")
    return sorted(folder.glob("list.*"))


def _write_lines(path: Path, head: str, lines: Iterable[str]) -> None:
    with path.open("w") as file:
        file.write(head)
        file.writelines(lines)


def _submit(path: Path, servers: embedded.Servers, found: Runs) -> None:
    """One run: the producer in a process of its own, then a look at what it left in bucket and broker."""
    redis = connect(servers.broker_url)
    before, started = _used_memory(redis), time.perf_counter()
    environment = {**os.environ, **servers.environment()}
    process = subprocess.Popen([*PRODUCER, str(path)], env=environment, stdout=subprocess.PIPE)  # noqa: S603 - our own
    with peak_memory(process.pid) as peak:
        output, _ = process.communicate()
    found.seconds.append(time.perf_counter() - started)
    found.producer_bytes.append(peak.bytes)
    found.broker_bytes.append(_used_memory(redis) - before)
    _check(servers, json.loads(output)["job"])


def _used_memory(redis: Redis) -> int:
    info = redis.info("memory")
    assert isinstance(info, dict)  # noqa: S101 - redis-py's type allows for an awaitable
    return int(info["used_memory"])


def _check(servers: embedded.Servers, job: str) -> None:
    """The job is admitted, complete, and its last shard ends with the last reference."""
    found = Client(settings_of(servers)).job(job)
    record, status = found.record(), found.status()
    last = Reference.from_json(found.store.get(keys.shard(job, record.shards - 1)).splitlines()[-1])
    wanted = REFERENCES.now
    if (record.images, status.submitted, last.uri) != (wanted, wanted, URL.format(wanted - 1)):
        raise RuntimeError(f"{job} is not whole: {record.images:,} images, {status}, {last}")
    if status.shards_queued != record.shards:
        raise RuntimeError(f"{job}: of {record.shards:,} shards {status.shards_queued:,} are queued")


def _result(runs: dict[str, Runs]) -> Result:
    figures = [
        Figure(
            name=f"`maskmill submit list{suffix}`",
            value=found.rate,
            unit="references/s",
            settings=f"{REFERENCES.now:,} references, shards of 128 to 512, median of {ROUNDS.now}",
            peak_bytes=max(found.producer_bytes),
        )
        for suffix, found in runs.items()
    ]
    producer = max(max(found.producer_bytes) for found in runs.values()) / 1e6
    broker = max(max(found.broker_bytes) for found in runs.values()) / 1e6
    slowest = min(found.rate for found in runs.values())
    comparisons = [
        Comparison(name="slowest kind of list", value=slowest, bar=20_000, unit="references/s"),
        Comparison(name="producer's peak memory", value=producer, bar=300, sense="at most", unit="MB"),
        Comparison(name="broker's memory for the job", value=broker, bar=20, sense="at most", unit="MB"),
    ]
    return Result(figures=figures, comparisons=comparisons, notes=[NOTE])


NOTE = (
    "The servers share the cores with the producer. Broker memory is the growth of `used_memory` over a run. "
    "Bucket and ledger are checked after each run."
)
