"""Mutation testing of the centre: a seeded sample of mutants, each against the tests that concern it.

    python -m tests.mutation --sample 150 --seed 1

A mutant is killed when one of its tests fails or hangs. The survivors are printed with their diffs: each is a missing
test, or changes nothing that anybody promises. Ends with 1 if fewer than `--bar` percent were killed.

Only the mutants are mutmut's: its own `run` wants all source below one root and takes no sample.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutation.mutants import Mutant, sample
from tests.mutation.runs import ROOT, Copy

ALLOWED = 4
"""A mutant's tests may take so many times as long as without one, and a minute: the machine may be busy."""

KILLED, SURVIVED, UNTESTED = "killed", "survived", "untested"
PASSED, NO_TESTS = 0, 5
"""Exit codes of pytest."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant, and which test killed it."""

    module: str
    status: str
    by: str
    seconds: float
    diff: str


def verdicts_on(mutants: Sequence[Mutant], folder: Path, processes: int) -> list[Verdict]:
    """The verdicts, each printed as it comes; so many mutants are tested at a time."""
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(processes):
        (folder / str(number)).mkdir()
        copies.put(Copy(folder / str(number)))

    def allow(tests: tuple[str, ...]) -> float:
        with taken(copies) as copy:
            run = copy.run(tests)
        if run.code != PASSED:
            raise RuntimeError(f"without a mutant, {run.failed or tests} fails:\n{run.said}")
        return 60 + ALLOWED * run.seconds

    def judge(mutant: Mutant) -> Verdict:
        if not mutant.tests:
            return Verdict(mutant.module, UNTESTED, "", 0.0, mutant.diff)
        with taken(copies) as copy:
            run = copy.run_with(mutant.module, mutant.code, mutant.tests, allowed[mutant.tests])
        status = {PASSED: SURVIVED, NO_TESTS: UNTESTED}.get(run.code, KILLED)
        return Verdict(mutant.module, status, run.failed, round(run.seconds, 1), mutant.diff)

    verdicts = []
    with ThreadPool(processes) as pool:
        sets = sorted({mutant.tests for mutant in mutants if mutant.tests})
        allowed = dict(zip(sets, pool.map(allow, sets), strict=True))
        for number, verdict in enumerate(pool.imap_unordered(judge, mutants), 1):
            verdicts.append(verdict)
            said = f"{number}/{len(mutants)} {verdict.status} {verdict.module} {verdict.seconds:.0f} s {verdict.by}"
            print(said if verdict.status == KILLED else f"{said}\n{verdict.diff}\n", flush=True)
    return verdicts


@contextmanager
def taken(copies: SimpleQueue[Copy]) -> Iterator[Copy]:
    """One of the copies, for the block alone."""
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def report(verdicts: Sequence[Verdict], bar: float) -> bool:
    """Print the share that was killed, of each module and of all; whether that reaches the bar."""
    of_module = Counter(verdict.module for verdict in verdicts)
    killed_of = Counter(verdict.module for verdict in verdicts if verdict.status == KILLED)
    for module, number in sorted(of_module.items()):
        print(f"{killed_of[module]:4} of {number:3} killed  {module}")
    killed = 100 * killed_of.total() / max(1, len(verdicts))
    print(f"{killed:.1f} % of {len(verdicts)} mutants killed; the bar is {bar:g} %")
    return killed >= bar


def main() -> int:
    """Test a sample and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    option = parser.add_argument
    option("--sample", type=int, default=150, help="mutants to test")
    option("--seed", type=int, default=1)
    option("--only", default="*", help="modules to mutate, such as 'maskmill/ledger/*'")
    option("--bar", type=float, default=85.0, help="percent that must be killed")
    option("--processes", type=int, default=2, help="mutants to test at a time")
    option("--results", type=Path, default=ROOT / "mutation-results.json")
    asked = parser.parse_args()

    mutants = sample(asked.sample, asked.seed, asked.only)
    with TemporaryDirectory(prefix="maskmill-mutants-") as folder:
        verdicts = verdicts_on(mutants, Path(folder), asked.processes)
    asked.results.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    return 0 if report(verdicts, asked.bar) else 1


if __name__ == "__main__":
    sys.exit(main())
