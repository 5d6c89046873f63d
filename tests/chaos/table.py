"""`make chaos`: the long form of every chaos test, and a table of what each kind of fault did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.chaos.form import TABLE, Row

TESTS = ("tests/chaos", "tests/integration/test_ledger_properties.py", "tests/acceptance/test_hostile_messages.py")
PARALLEL = ("-n", "2", "--dist", "worksteal")
"""Two at a time: most of it waits, for what was killed to come back."""

HEAD = ("fault", "times", "submitted", "stored", "failed", "lost", "duplicated", "slowest recovery")


def main() -> None:
    """Run the tests named in the arguments (default: all), print the table, end with pytest's exit code."""
    rows = Path("chaos-table.jsonl").absolute()
    rows.unlink(missing_ok=True)
    environment = {**os.environ, "CHAOS": "long", TABLE: str(rows)}
    chosen = sys.argv[1:] or TESTS
    command = [sys.executable, "-m", "pytest", *PARALLEL, *chosen]
    ended = subprocess.run(command, env=environment, check=False)
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    print(table([Row.model_validate_json(line) for line in lines]))
    sys.exit(ended.returncode)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    body = [HEAD, ("---",) * len(HEAD)]
    for row in rows:
        seconds = row.slowest_recovery_seconds
        numbers = (row.times, row.submitted, row.stored, row.failed, row.lost, row.duplicated)
        body.append((row.fault, *(f"{number:,}" for number in numbers), "–" if seconds is None else f"{seconds:.1f} s"))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in body)


if __name__ == "__main__":
    main()
