"""What a person sees on the terminal: a live bar, one-line summaries and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from maskmill.schema import JobState, JobStatus, Outcome
from maskmill_producer.local.bench import BenchResult

MAX_LOOKED_AT = 10_000
"""Failures that are looked through for a reason of each code."""

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

STYLES = {
    JobState.RUNNING: "cyan",
    JobState.COMPLETED: "green",
    JobState.COMPLETED_WITH_FAILURES: "yellow",
    JobState.CANCELLED: "magenta",
}


class ImageRate(ProgressColumn):
    """Images a second, once there are any."""

    def render(self, task: Task) -> Text:
        """The rate over the last half minute."""
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "– images/s", style="progress.data.speed")


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    print(json.dumps(value, ensure_ascii=False))


def print_error(code: str, reason: str, *, as_json: bool) -> None:
    """One line on standard error."""
    if as_json:
        errors.print(json.dumps({"error": code, "reason": reason}, ensure_ascii=False), soft_wrap=True, markup=False)
    else:
        errors.print(Text.assemble(("error: ", "bold red"), reason), soft_wrap=True)


@contextmanager
def job_bar(title: str) -> Iterator[Callable[[JobStatus], None]]:
    """A live bar; call what it yields with each new status."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        ImageRate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=errors, speed_estimate_period=30, transient=True) as progress:
        task = progress.add_task(title, total=None, note="")

        def show(status: JobStatus) -> None:
            progress.update(
                task, total=status.submitted, completed=status.counts.total, note=_note(status), refresh=True
            )

        yield show


def _note(status: JobStatus) -> str:
    if status.counts.failed:
        return f"[yellow]{status.counts.failed:,} failed"
    return "[dim]waiting for a worker" if not status.counts.total and not status.shards_claimed else ""


def summary(status: JobStatus) -> Text:
    """One line: state and counts."""
    counts = [f"{number:,} {name}" for name, number in status.counts.model_dump().items() if number]
    return Text.assemble(
        (status.state.value, STYLES[status.state]),
        f": {status.submitted:,} submitted = {' + '.join(counts) or '0'}"
        if status.finished
        else f": {status.counts.total:,} of {status.submitted:,} images ({', '.join(counts) or 'none yet'})",
    )


def jobs_table(statuses: list[JobStatus]) -> Table:
    """All jobs, a row each."""
    table = Table(box=None, pad_edge=False)
    for name in ("job", "state", "images", "stored", "reused", "failed"):
        table.add_column(name, no_wrap=True, min_width=len(statuses[0].job) if name == "job" else None)
    table.add_column("output", overflow="fold")
    for status in statuses:
        counts = status.counts
        numbers = (f"{number:,}" for number in (status.submitted, counts.stored, counts.reused, counts.failed))
        table.add_row(status.job, Text(status.state.value, STYLES[status.state]), *numbers, status.out)
    return table


def bench_table(result: BenchResult) -> Table:
    """Where the time went, a stage a row."""
    table = Table("stage", box=None, pad_edge=False)
    for name in ("ms an image", "at a time", "images/s it could do"):
        table.add_column(name, justify="right")
    for stage in result.stages:
        capacity = f"{stage.capacity:,.1f}" if stage.seconds else "–"
        table.add_row(stage.name, f"{stage.seconds * 1000:,.1f}", f"{stage.at_a_time}", capacity)
        if stage.name == "preprocess":
            for reason, seconds in (("wait", result.device.loading), ("wait for uploads", result.device.storing)):
                table.add_row(f"[dim]{reason}", f"[dim]{1000 * seconds / max(1, result.images):,.1f}", "", "")
    return table


def bench_summary(result: BenchResult) -> Text:
    """Throughput, how busy the model's device was, and the verdict."""
    return Text.assemble(
        f"{result.images_per_second:,.1f} images/s over {result.images:,} images, device busy {result.busy:.0%}\n",
        (result.verdict, "bold"),
    )


def bench_json(result: BenchResult) -> dict[str, Any]:
    """The same for machines; seconds are those of one image."""
    return {
        "images": result.images,
        "images_per_second": round(result.images_per_second, 3),
        "device_busy": round(result.busy, 4),
        "device_seconds": result.device.model_dump(),
        "stages": {
            stage.name: {"seconds": round(stage.seconds, 6), "at_a_time": stage.at_a_time} for stage in result.stages
        },
        "failures": result.status.failures,
        "verdict": result.verdict,
    }


def status_json(status: JobStatus) -> dict[str, Any]:
    """Where a job stands, for machines."""
    return status.model_dump(mode="json")


def print_end(status: JobStatus, failures: Iterator[Outcome]) -> None:
    """The account, and for each code the first reason among the first failures."""
    console.print(summary(status), soft_wrap=True)
    if status.reason:
        console.print(status.reason, soft_wrap=True, markup=False)
    if not status.failures:
        return
    reasons: dict[str, str] = {}
    for outcome in islice(failures, MAX_LOOKED_AT):
        reasons.setdefault(outcome.code or "", outcome.reason or "")
        if len(reasons) == len(status.failures):
            break
    console.print(failures_table(status.failures, reasons), soft_wrap=True)


def failures_table(failures: dict[str, int], reasons: dict[str, str]) -> Table:
    """Failed images by code, with the reason of one of each."""
    table = Table("failed", "code", "for example", box=None, pad_edge=False)
    table.columns[-1].overflow = "fold"
    for code, number in failures.items():
        table.add_row(f"{number:,}", code, Text(reasons.get(code, "")))
    return table
