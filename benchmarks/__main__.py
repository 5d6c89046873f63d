"""`python -m benchmarks [--quick] [LETTER…]`: run benchmarks one after the other, keep their JSON, write the table.

`python -m benchmarks gpu` runs those of a CUDA device instead: see its `--help`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from benchmarks.apart import MODULES, measured_apart, measured_here
from benchmarks.scale import QUICK, Extent
from benchmarks.table import write_table

HERE = Path(__file__).parent
RESULTS = Extent(HERE / "results", quick=HERE.parent / "build" / "bench-quick")
TABLE = Extent(HERE.parent / "docs" / "benchmarks.md", quick=HERE.parent / "build" / "bench-quick" / "benchmarks.md")
LIMIT_SECONDS = Extent(3600, quick=600)


def main() -> None:
    """What has ended is kept at once, and stands in the table: whatever happens to the next one."""
    if sys.argv[1:2] == ["gpu"]:
        from benchmarks.gpu.run import main as on_a_gpu

        sys.exit(on_a_gpu(sys.argv[2:]))
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    if arguments.quick:
        os.environ[QUICK] = "1"
    if arguments.in_process:
        measured_here(*arguments.letters).save(arguments.in_process)
        return
    failed = []
    for letter in arguments.letters or MODULES:
        print(f"benchmark {letter} …", file=sys.stderr, flush=True)
        kept = measured_apart(letter, arguments.limit or LIMIT_SECONDS.now)
        kept.save(RESULTS.now)
        print(f"  {kept.seconds:.0f} s" + (f"; {kept.failed}" if kept.failed else ""), file=sys.stderr, flush=True)
        write_table(RESULTS.now, TABLE.now)
        failed += [letter] if kept.failed else []
    print(TABLE.now.read_text(encoding="utf-8"))
    if failed:
        sys.exit(f"did not run: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("letters", nargs="*", metavar="LETTER", type=_letter, help=f"of {' '.join(MODULES)}; or all")
    parser.add_argument("--quick", action="store_true", help="at a reduced size, into build/bench-quick")
    limits = f"of each benchmark; default: {LIMIT_SECONDS.full}, with --quick {LIMIT_SECONDS.quick}"
    parser.add_argument("--limit", type=_seconds, metavar="SECONDS", help=limits)
    parser.add_argument("--in-process", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


def _letter(text: str) -> str:
    if text.upper() not in MODULES:
        raise argparse.ArgumentTypeError(f"no benchmark {text}; there are {', '.join(MODULES)}")
    return text.upper()


def _seconds(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is no time")
    return float(text)


if __name__ == "__main__":
    main()
