"""The two forms of the chaos tests, and the table that the long one leaves."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from maskmill.schema import Counts

LONG = os.environ.get("CHAOS") == "long"
"""`make chaos` sets it; `make test` runs the short form."""

TABLE = "CHAOS_TABLE"
"""Environment variable: the file that gets a JSON line for each test, see `tests.chaos.table`."""


class Row(BaseModel):
    """What one kind of fault did, after the account was checked object by object."""

    fault: str
    times: int
    submitted: int
    stored: int
    failed: int
    lost: int
    duplicated: int
    slowest_recovery_seconds: float | None = None


def counted(fault: str, times: int, submitted: int, counts: Counts) -> Row:
    """The row of a test of the ledger alone, whose images are numbers: those that it does not count are lost."""
    lost = max(0, submitted - counts.total)
    duplicated = max(0, counts.total - submitted)
    done = {"stored": counts.stored, "failed": counts.failed}
    return Row(fault=fault, times=times, submitted=submitted, lost=lost, duplicated=duplicated, **done)


def record(row: Row) -> None:
    """Show the row, and keep it for the table if there is to be one."""
    print(row.model_dump_json())
    if os.environ.get(TABLE):
        with Path(os.environ[TABLE]).open("a", encoding="utf-8") as lines:
            lines.write(row.model_dump_json() + "\n")
