"""The two forms of the chaos tests, and the table that the long one leaves."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

LONG = os.environ.get("MASKMILL_CHAOS") == "long"
"""`make chaos` sets it; `make test` runs the short form."""

TABLE = "MASKMILL_CHAOS_TABLE"
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


def record(row: Row) -> None:
    """Show the row, and keep it for the table if there is to be one."""
    print(row.model_dump_json())
    if os.environ.get(TABLE):
        with Path(os.environ[TABLE]).open("a", encoding="utf-8") as lines:
            lines.write(row.model_dump_json() + "\n")
