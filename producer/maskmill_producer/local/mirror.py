"""A job's results as files in a folder: masks, `metadata.jsonl`, `failures.jsonl`, `manifest.json`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from threading import get_ident

from maskmill.client import Job, Result
from maskmill.errors import UsageError
from maskmill.schema import Outcome, Status

THREADS = 8
FAILURES = "failures.jsonl"


def mirror(job: Job, folder: Path, on_mask: Callable[[int], None] | None = None) -> int:
    """Copy the job's masks and account below `folder`; returns the number of masks. Safe to repeat.

    Each file is complete or absent (written beside its name, then renamed). Raises `UsageError` when the folder
    cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = list(job.outcomes())
        done = [outcome for outcome in outcomes if outcome.status in (Status.STORED, Status.REUSED)]
        copied = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for copied, _ in enumerate(pool.map(lambda outcome: _copy(job, folder, outcome), done), 1):
                if on_mask:
                    on_mask(copied)
        _write_lines(folder / "metadata.jsonl", done)
        _write_lines(folder / FAILURES, (o for o in outcomes if o.status is Status.FAILED))
        if manifest := job.manifest():
            _write(folder / "manifest.json", manifest.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from error
    return copied


def failures(folder: Path) -> Iterator[Outcome]:
    """The failed images of a mirrored job."""
    with (folder / FAILURES).open(encoding="utf-8") as lines:
        yield from map(Outcome.from_json, lines)


def _copy(job: Job, folder: Path, outcome: Outcome) -> None:
    key = Result(outcome, job.store).mask_key
    _write(folder / PurePosixPath(key), job.store.get(key))


def _write_lines(path: Path, outcomes: Iterable[Outcome]) -> None:
    _write(path, b"".join(outcome.to_json() + b"\n" for outcome in outcomes))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.part")
    part.write_bytes(data)
    part.replace(path)
