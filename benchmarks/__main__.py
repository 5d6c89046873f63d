"""`python -m benchmarks [LETTER…]`: run the benchmarks one after the other, keep their JSON, write the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.result import Kept, Result
from benchmarks.table import write_table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MODULES = {path.stem[0].upper(): path.stem for path in sorted(HERE.glob("[a-n]_*.py"))}


def main() -> None:
    """Each benchmark in a process of its own, so that none inherits another's memory, threads or caches."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("letters", nargs="*", metavar="LETTER", help=f"of {' '.join(MODULES)}; default: all")
    parser.add_argument("--in-process", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    if arguments.in_process:
        _run_here(arguments.in_process)
        return
    letters = [letter.upper() for letter in arguments.letters] or list(MODULES)
    if unknown := set(letters) - set(MODULES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    failed = [letter for letter in letters if _run(letter)]
    table = write_table(RESULTS)
    print(table)
    if failed:
        sys.exit(f"did not run: {', '.join(failed)}")


def _run(letter: str) -> int:
    print(f"benchmark {letter} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", "--in-process", letter]
    return subprocess.run(command, cwd=HERE.parent, check=False).returncode  # noqa: S603 - our own module


def _run_here(letter: str) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    module = import_module(f"benchmarks.{MODULES[letter]}")
    started = time.perf_counter()
    result: Result = module.run()
    kept = Kept(
        letter=letter,
        title=module.TITLE,
        command=f"python -m benchmarks {letter}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seconds=round(time.perf_counter() - started, 1),
        machine=_machine(),
        result=result,
    )
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(kept.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (RESULTS / f"{letter}.json").write_text(text + "\n", encoding="utf-8")


def _machine() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "transformers", "Pillow", "boto3")}
    gib = round(psutil.virtual_memory().total / 2**30)
    return {"cores": str(os.cpu_count()), "memory": f"{gib} GiB", "python": platform.python_version(), **packages}


if __name__ == "__main__":
    main()
