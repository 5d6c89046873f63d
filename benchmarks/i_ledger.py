"""I. The ledger alone: a thousand workers that claim and book, and what a claim costs with a thousand open jobs."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import fleet
from benchmarks.child import child
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill.broker.connection import connect
from maskmill.ledger.ledger import Ledger

TITLE = "The ledger alone: 1,000 workers at once, 1,000 open jobs"
WORKERS = 1_000
PROCESSES = 4
JOBS = 50
SHARDS = 20_000
"""Of each job: more than are booked in the time."""

WARM_SECONDS = 2.0
SECONDS = Extent(10.0, quick=3.0)
FEW, MANY = 10, 1_000
CLAIMS = Extent(2_000, quick=500)
RATE_BAR = 5_000
COST_BAR = 2.0


@dataclass(frozen=True)
class Cost:
    """A claim in microseconds: in the broker's own account, and from call to answer (the median)."""

    broker: float
    wall: float


def run() -> Result:
    """The embedded broker as `maskmill run` has it: each answered write is on disk."""
    with fleet.servers() as servers:
        rate, in_flight, script = _rate(servers.broker_url)
        say(f"{rate:,.0f} shards/s")
        costs: dict[int, list[Cost]] = {FEW: [], MANY: []}
        for turn, jobs in enumerate((FEW, MANY, MANY, FEW)):
            costs[jobs].append(_cost(servers.broker_url, f"cost-{turn}", jobs))
            say(f"a claim with {jobs:,} open jobs: {costs[jobs][-1]}")
    return _result(rate, in_flight, script, {jobs: _mean(each) for jobs, each in costs.items()})


def _rate(url: str) -> tuple[float, float, float]:
    """Shards booked a second, those in flight half-way, and the broker's microseconds for a claim or booking."""
    ledger = _ledger(url, "rate", JOBS)
    warm, seconds, each = WARM_SECONDS, SECONDS.now, WORKERS // PROCESSES
    with ExitStack() as stack, ThreadPoolExecutor(PROCESSES) as pool:
        crews = [stack.enter_context(child("claimants")) for _ in range(PROCESSES)]
        for crew in crews:
            crew.ask("ready")
        arguments = {"url": url, "queue": "rate", "workers": each, "warm_seconds": warm, "seconds": seconds}
        ledger.redis.config_resetstat()
        asked = [pool.submit(crew.ask, "work", name=f"p{n}", **arguments) for n, crew in enumerate(crews)]
        time.sleep(warm + seconds / 2)
        in_flight = sum(one.claimed for one in ledger.progress_of(ledger.open_jobs()) if one)
        found = [each.result() for each in asked]
    _check(ledger)
    return sum(one["booked"] / one["seconds"] for one in found), in_flight, _broker_microseconds(ledger)


def _check(ledger: Ledger) -> None:
    """The counters are those of the booked shards, whatever the haste."""
    for job in ledger.open_jobs():
        progress, state = ledger.progress(job), ledger.inspect(job)
        if not (state and state.complete and progress.decided.stored == 128 * progress.shards_done):
            raise RuntimeError(f"{job}: {progress}")


def _cost(url: str, queue: str, jobs: int) -> Cost:
    """One worker that claims shard after shard, each time the job's whose turn it is."""
    ledger = _ledger(url, queue, jobs)
    claims, walls = CLAIMS.now, []
    ledger.redis.config_resetstat()
    for _ in range(claims):
        started = time.perf_counter()
        if not ledger.claim_next("w", 600.0):
            raise RuntimeError("no shard, with jobs open")
        walls.append(time.perf_counter() - started)
    return Cost(_broker_microseconds(ledger), 1e6 * statistics.median(walls))


def _ledger(url: str, queue: str, jobs: int) -> Ledger:
    ledger = Ledger(connect(url), queue)
    for number in range(jobs):
        ledger.create(
            f"20261122-000000-{number:08x}",
            "s3://bucket/out",
            images=128 * SHARDS,
            shards=SHARDS,
            model=f"m{number % 7}",
            created_seconds=float(number),
        )
    return ledger


def _broker_microseconds(ledger: Ledger) -> float:
    stats: dict[str, Any] = ledger.redis.info("commandstats")["cmdstat_evalsha"]
    return float(stats["usec_per_call"])


def _mean(costs: list[Cost]) -> Cost:
    return Cost(statistics.mean(one.broker for one in costs), statistics.mean(one.wall for one in costs))


def _result(rate: float, in_flight: float, script: float, costs: dict[int, Cost]) -> Result:
    few, many = costs[FEW], costs[MANY]
    how = (
        f"{PROCESSES} processes with {WORKERS // PROCESSES} simulated workers each, whose calls go together; "
        f"{JOBS} jobs; {in_flight:,.0f} shards in flight half-way; appendfsync always; "
        f"the broker's time for a script {script:.0f} µs"
    )
    one = f"mean of two runs of {CLAIMS.now:,} claims, one after the other"
    return Result(
        figures=[
            Figure(name="shards claimed and booked", value=rate, unit="shards/s", settings=how),
            *(
                Figure(name=f"a claim with {jobs:,} open jobs: {name}", value=value, unit="µs", settings=one)
                for jobs, cost in costs.items()
                for name, value in (("in the broker", cost.broker), ("call to answer, median", cost.wall))
            ),
        ],
        comparisons=[
            Comparison(name="shards claimed and booked, 1,000 in flight", value=rate, bar=RATE_BAR, unit="shards/s"),
            _comparison("the broker's time", many.broker / few.broker),
            _comparison("call to answer", many.wall / few.wall),
        ],
        notes=["The simulated workers share the cores with the broker; the counters are checked after the run."],
    )


def _comparison(name: str, ratio: float) -> Comparison:
    return Comparison(
        name=f"a claim with {MANY:,} open jobs ÷ {FEW}: {name}", value=ratio, bar=COST_BAR, sense="at most"
    )
