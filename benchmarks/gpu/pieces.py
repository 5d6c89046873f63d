"""What each piece does, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the imports below: huggingface_hub reads it when imported

from benchmarks.gpu.device import described
from benchmarks.gpu.models import NAMES, draw_all
from benchmarks.gpu.photographs import LARGE, LARGE_TINY, SMALL, photographs_of
from benchmarks.gpu.run import DRAW, PIECES
from benchmarks.gpu.sheet import Sheet
from benchmarks.gpu.speed import Run, large_images, small_images
from benchmarks.gpu.tested import run_tests

Work = Callable[[Sheet, Run], None]


def run_here(name: str, device: str, out: Path) -> None:
    """One piece: its figures into its file."""
    run = Run(device, tiny=device == "cpu")
    if name == DRAW.name:
        _draw(run)
        return
    [piece] = [each for each in PIECES if each.name == name]
    WORK[name](Sheet(out, name, piece.title, described(device)), run)


def _draw(run: Run) -> None:
    for size in (SMALL, LARGE_TINY if run.tiny else LARGE):
        photographs_of(size)
    draw_all(run.device, tiny=run.tiny)


def _exactness(sheet: Sheet, run: Run) -> None:
    run_tests(sheet, run.device, ["tests/gpu/test_exactness.py", "tests/gpu/test_precision.py"], few=run.tiny)


def _faults(sheet: Sheet, run: Run) -> None:
    run_tests(sheet, run.device, ["tests/gpu/test_faults.py"], few=False)


WORK: dict[str, Work] = {
    "exactness": _exactness,
    "faults": _faults,
    "large": large_images,
    **{name: partial(small_images, model=name) for name in NAMES},
}
