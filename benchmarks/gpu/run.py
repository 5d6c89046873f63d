"""The pieces one after the other, each in a process and within a time of its own."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.result import Kept
from maskmill.errors import UsageError
from maskmill_worker.process.member import count_cuda_devices

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
DRY_RESULTS = ROOT / "build" / "gpu-dry-run"

TOTAL_SECONDS = 480.0
DRY_TIMES = 10
"""How many times as long a dry run may take: a few cores are no GPU."""

END_SECONDS = 15.0
"""After its time, how long a piece may take to stop what it started."""

LEAST_SECONDS = 20.0
"""With less time left no piece is begun."""


@dataclass(frozen=True)
class Piece:
    """A part of the whole: what it is called, and how long it may take."""

    name: str
    title: str
    seconds: float
    timed: bool = True
    """Whether its figures are times, so that nothing may run beside it."""


PIECES = (
    Piece("exactness", "On the device: every family against the stock pipeline there", 100, timed=False),
    Piece("detr", "DETR-ResNet-50 panoptic, 640×480", 80),
    Piece("segformer", "SegFormer-B5, 640×480", 75),
    Piece("faults", "Faults of the device in real jobs", 110, timed=False),
    Piece("mask2former", "Mask2Former-Swin-L, 640×480", 60),
    Piece("large", "Photographs of 12 megapixels", 70),
    Piece("oneformer", "OneFormer-Swin-L, 640×480", 60),
    Piece("eomt", "EoMT-L, 640×480", 60),
)
"""The most telling first."""

DRAW = Piece("draw", "Models and photographs for the timed pieces, written beside the first one", 150, timed=False)

NO_CUDA = (
    "make gpu needs a torch that sees a CUDA device, and this one sees none: run it where `nvidia-smi` shows a GPU and "
    "torch was built with CUDA (TORCH=pypi make run), or try it out with `python -m benchmarks gpu --device cpu`"
)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when every piece came to its end, 1 when one was cut off or failed, 2 without a device."""
    names = [piece.name for piece in (*PIECES, DRAW)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument(
        "pieces", nargs="*", metavar="PIECE", help=f"of {', '.join(names)}; default: all but {DRAW.name}"
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a dry run of small models")
    parser.add_argument("--out", type=Path, help="folder for the JSON; default: benchmarks/results/gpu")
    parser.add_argument("--seconds", type=float, help=f"for all pieces together; default: {TOTAL_SECONDS:.0f}")
    parser.add_argument("--in-process", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    out = asked.out or (DRY_RESULTS if asked.device == "cpu" else RESULTS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if asked.in_process:
        from benchmarks.gpu.pieces import run_here

        with suppress(KeyboardInterrupt):  # its time is up
            run_here(asked.in_process, asked.device, out)
        return 0
    if unknown := set(asked.pieces) - set(names):
        parser.error(f"no piece {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if reason := _no_device(asked.device):
        print(f"error: {reason}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    times = DRY_TIMES if asked.device == "cpu" else 1
    chosen = [
        replace(piece, seconds=times * piece.seconds)
        for piece in (*PIECES, DRAW)
        if piece.name in (asked.pieces or names[:-1])
    ]
    return _run(chosen, asked.device, out, time.monotonic() + (asked.seconds or times * TOTAL_SECONDS))


def _no_device(device: str) -> str:
    """Why there is nothing to run on; nothing if there is."""
    try:
        return NO_CUDA if device == "cuda" and not count_cuda_devices() else ""
    except UsageError as error:
        return f"make gpu: {str(error).removeprefix('--devices all: ')}"


def _run(pieces: Sequence[Piece], device: str, out: Path, deadline: float) -> int:
    command = [sys.executable, "-m", "benchmarks", "gpu", "--device", device, "--out", str(out), "--in-process"]
    ended: dict[str, str] = {}
    drawn_by = min(deadline, time.monotonic() + DRAW.seconds)
    with ExitStack() as stack:
        drawn = stack.enter_context(_group([*command, DRAW.name])) if any(map(_needs_drawn, pieces)) else None
        for piece in pieces:
            if drawn and _needs_drawn(piece):
                with suppress(subprocess.TimeoutExpired):
                    drawn.wait(max(0.0, drawn_by - time.monotonic()))
            if piece.name != DRAW.name:
                ended[piece.name] = run_piece(piece, [*command, piece.name], deadline)
                print(f"{piece.name}: {ended[piece.name]}", file=sys.stderr, flush=True)
    print("\n".join(_table(out, ended)))
    return int(any(not how.startswith("done") for how in ended.values()))


def _needs_drawn(piece: Piece) -> bool:
    return piece.timed or piece.name == DRAW.name


def run_piece(piece: Piece, command: Sequence[str], deadline: float) -> str:
    """Run the piece, within its own time and what is left of all; how it ended, in words."""
    seconds = min(piece.seconds, deadline - time.monotonic())
    if seconds < LEAST_SECONDS:
        return "not begun, the time was up"
    started = time.monotonic()
    with _group(command) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"cut off after {seconds:.0f} s; what it had found is kept"
    return f"done in {time.monotonic() - started:.0f} s" if code == 0 else f"failed with exit code {code}"


@contextmanager
def _group(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own; one that still runs when the block ends is ended, with all that it started."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)  # noqa: S603 - our own module
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _table(out: Path, ended: dict[str, str]) -> Iterator[str]:
    for name, how in ended.items():
        yield f"\n{name}: {how}"
        path = out / f"{name}.json"
        result = Kept.model_validate_json(path.read_text(encoding="utf-8")).result if path.exists() else None
        if result is None:
            continue
        yield from (f"  {figure.value:10.4g} {figure.unit:10} {figure.name}" for figure in result.figures)
        for each in result.comparisons:
            yield f"  {each.value:10.4g} {each.unit:10} {each.name}: {'met' if each.met else 'NOT met'} ({each.bar:g})"
        yield from (f"  {note}" for note in result.notes)
