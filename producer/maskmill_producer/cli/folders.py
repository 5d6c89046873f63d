"""What `run` and `results --download` say of the folder that they have written."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from maskmill.words import counted
from maskmill_producer.cli import display

if TYPE_CHECKING:
    from maskmill.schema import JobStatus
    from maskmill_producer.local.mirror import Mirrored
    from maskmill_producer.local.overlays import Drawn


def folder_json(mirrored: Mirrored, drawn: Drawn | None) -> dict[str, Any]:
    """What was done, for machines: the same fields whether overlays were asked for or not."""
    drawn_ones = {
        "overlays": drawn.overlays if drawn else None,
        "not_drawn": drawn.not_drawn if drawn else None,
        "overlay_problems": [problem.model_dump() for problem in drawn.problems] if drawn else [],
    }
    return {
        "masks": mirrored.masks,
        "copied": mirrored.copied,
        "already_there": mirrored.there,
        "removed": mirrored.removed,
        "not_copied": mirrored.not_copied,
        "problems": [problem.model_dump() for problem in mirrored.problems],
        **drawn_ones,
    }


def print_masks(mirrored: Mirrored, folder: Path, beside: str = "") -> None:
    """How many masks are in the folder, and what is beside them; which are not, and what was removed from it."""
    for problem in mirrored.problems:
        display.print_error(problem.code, problem.text, as_json=False)
    if mirrored.not_copied:
        display.remark(f"{counted(mirrored.not_copied, 'mask')} not copied; not-copied.jsonl names all")
    there = f" ({counted(mirrored.there, 'was', 'were')} there already)" if mirrored.there else ""
    display.say(f"{counted(mirrored.masks, 'mask')}{beside} in {folder}{there}")
    if mirrored.removed:
        display.say(f"removed {counted(mirrored.removed, 'mask')} of the results before, no longer part of these")


def print_failures(status: JobStatus, folder: Path) -> None:
    """Where the failed images are listed."""
    if status.counts.failed:
        display.say(f"{folder / 'failures.jsonl'} lists what failed; see: maskmill failures {quote(str(folder))}")


def print_overlays(drawn: Drawn | None, folder: Path) -> None:
    """How many overlays there are, and why some are not."""
    if drawn is None:
        return
    for problem in drawn.problems:
        display.print_error(problem.code, problem.text, as_json=False)
    display.say(f"{counted(drawn.overlays, 'overlay')} in {folder / 'overlays'}")
    if drawn.not_drawn:
        display.remark(f"{counted(drawn.not_drawn, 'overlay')} not drawn: the image is read again, from here")
