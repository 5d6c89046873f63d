"""Which pages there are, and who writes each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.reference import commands, errors, records, settings

FOLDER = Path(__file__).parents[1]
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands.page,
    "settings.md": settings.page,
    "errors.md": errors.page,
    "records.md": records.page,
}
