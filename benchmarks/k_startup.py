"""K. How soon there is a result: of `--help`, of a whole run, of the same run again, of a job for a warm worker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks import fleet
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from maskmill import Client

TITLE = "From a command to its first result, the demo model over the 18 samples"
SAMPLES = Path(__file__).parent.parent / "demo" / "samples"
COMMAND = (sys.executable, "-c", "from maskmill_producer.entry import main; main()")
BARE = (sys.executable, "-c", "import torch; from transformers import pipeline")
TIMES = Extent(5, quick=1)
"""Each is the least of so many: whatever else the machine does makes some of them longer, and none shorter."""

JOBS = Extent(10, quick=3)
WAIT_SECONDS = 600.0
HELP_BAR, FIXED_SECONDS, RUN_BAR, AGAIN_BAR, WARM_BAR = 0.4, 3.0, 1.5, 4.0, 0.5


def run() -> Result:
    """Commands and their measure in turns, so that what the machine does meanwhile is shared out."""
    helped, versioned, bare, whole, again = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TIMES.now):
            helped.append(_seconds((*COMMAND, "--help")))
            versioned.append(_seconds((*COMMAND, "--version")))
            bare.append(_seconds(BARE))
            whole.append(_run(Path(folder) / str(turn)))
            again.append(_run(Path(folder) / str(turn)))
            say(f"bare import {bare[-1]:.1f} s, run {whole[-1]:.1f} s, again {again[-1]:.1f} s, load {_load()}")
    waits = _warm()
    figures = {
        "maskmill --help": helped,
        "maskmill --version": versioned,
        "import torch and transformers' pipeline": bare,
        "maskmill run, 18 images": whole,
        "the same again, all masks reused": again,
        "submit to first stored mask, warm worker": waits,
    }
    least = {name: min(seconds) for name, seconds in figures.items()}
    ratio = (min(whole) - FIXED_SECONDS) / min(bare)
    return Result(
        figures=[
            Figure(
                name=name, value=least[name], unit="s", settings=f"least of {len(all_)}; median {median(all_):.2f} s"
            )
            for name, all_ in figures.items()
        ],
        comparisons=[
            _at_most("--help", min(helped), HELP_BAR, "s"),
            _at_most("--version", min(versioned), HELP_BAR, "s"),
            _at_most(f"(run − {FIXED_SECONDS:.0f} s) ÷ bare import", ratio, RUN_BAR, "×"),
            _at_most("run again, all reused", min(again), AGAIN_BAR, "s"),
            _at_most("first mask after submit returns, warm worker", min(waits), WARM_BAR, "s"),
        ],
        notes=[f"Load averages at the end: {_load()}."],
    )


def _at_most(name: str, value: float, bar: float, unit: str) -> Comparison:
    return Comparison(name=name, value=value, bar=bar, sense="at most", unit=unit)


def _run(folder: Path) -> float:
    """Servers, worker and masks in this folder: what it holds already is found again."""
    arguments = ("run", str(SAMPLES), "--out", str(folder / "out"), "--model", "demo", "--json")
    return _seconds((*COMMAND, *arguments), MASKMILL_STATE_DIR=str(folder / "state"))


def _seconds(command: Sequence[str], **variables: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=os.environ | variables, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own
    return time.perf_counter() - started


def _warm() -> list[float]:
    with fleet.servers() as servers, fleet.worker(servers) as worker:
        worker.run([str(SAMPLES)], model="demo")
        client = Client(worker.settings)
        outs = (f"{client.settings.out}-{number}" for number in count())
        return [_first_mask(client, outs) for _ in range(JOBS.now)]


def _first_mask(client: Client, outs: Iterator[str]) -> float:
    """Seconds from the end of `submit` to a mask in the bucket, below a prefix of its own."""
    job = client.submit([str(SAMPLES)], out=next(outs), model="demo")
    submitted = time.perf_counter()
    while not next(job.store.list("masks/"), None):
        if time.perf_counter() > submitted + WAIT_SECONDS:
            raise RuntimeError(f"no mask of {job.id}: {job.status()}")
        time.sleep(0.005)
    seconds = time.perf_counter() - submitted
    job.wait(timeout=WAIT_SECONDS)
    return seconds


def _load() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())
