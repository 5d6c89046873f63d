"""A report's folder: whose it is, what of an earlier report goes, and the page itself, which comes last.

`report.json` says that the folder is ours; it is there first. `index.html` is there once all else is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from maskmill.errors import UsageError
from maskmill_producer.report.page.extra import COMPARISON, SCORE

MARK, PAGE = "report.json", "index.html"
DATA, PICTURES = "data", "pictures"
STATIC = ("page.css", "data.js", "charts.js", "summary.js", "overlay.js", "gallery.js", "viewer.js")
"""Beside the page, and loaded by it."""

OURS = re.compile(r"data/(index|score|compare|c\d{5,})\.js|pictures/\d{5,}/\d{6,}\.(jpg|js)")
"""What a report has written, below its folder; all else in there is somebody's."""


def begin(folder: Path, job: str) -> None:
    """Make the folder, or clear it of an earlier report; raises `UsageError` where other files are."""
    if folder.is_dir() and any(folder.iterdir()) and not is_report(folder):
        raise UsageError(f"{folder} is not empty and no report of Maskmill: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).unlink(missing_ok=True)
    _mark(folder, {"job": job, "complete": False})
    _clear(folder)
    (folder / DATA).mkdir(exist_ok=True)
    (folder / PICTURES).mkdir(exist_ok=True)
    for name in (SCORE, COMPARISON):
        (folder / name).write_text("// nothing yet\n", encoding="ascii")


def finish(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Put the page where all its data is; returns its path."""
    static = files(__package__) / "static"
    for name in (*STATIC, PAGE):
        (folder / name).write_bytes((static / name).read_bytes())
    _mark(folder, {**facts, "complete": True})
    return folder / PAGE


def is_report(folder: Path) -> bool:
    """Whether the folder holds a report, a broken-off one included."""
    try:
        return isinstance(json.loads((folder / MARK).read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _mark(folder: Path, facts: Mapping[str, Any]) -> None:
    (folder / MARK).write_text(json.dumps(facts, indent=2) + "\n", encoding="ascii")


def _clear(folder: Path) -> None:
    """Remove what an earlier report has written; links are not followed."""
    for name in (DATA, PICTURES):
        for path in sorted((folder / name).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                _drop_if_empty(path)
            elif OURS.fullmatch(path.relative_to(folder).as_posix()):
                path.unlink()


def _drop_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
