"""What a person sees on the terminal: a live bar, one-line summaries and errors.

Paths, labels, reasons and ids come from elsewhere. Both consoles take every text as it is: no markup, no emoji names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from maskmill.jobs.preview import Preview
    from maskmill.schema import JobRecord, JobStatus
    from maskmill_producer.local.bench import BenchResult

console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)

STYLES = {
    "running": "cyan",
    "completed": "green",
    "completed with failures": "yellow",
    "cancelled": "magenta",
}
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""What a terminal would obey, or takes for the end of a column or a line."""


class ImageRate(ProgressColumn):
    """Images a second, once there are any."""

    def render(self, task: Task) -> Text:
        """The rate over the last half minute."""
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "– images/s", style="progress.data.speed")


class Note(ProgressColumn):
    """What there is to say about the job now."""

    def render(self, task: Task) -> Text:
        """Failures so far, or that no worker has begun."""
        text, style = task.fields["note"]
        return Text(text, style)


def shown(text: object) -> str:
    r"""A foreign text on one line: `a\nb` with a line break is shown as `a\x0ab`."""
    return str(text).translate(CONTROLS)


def print_line(*fields: object) -> None:
    """One line of standard output, its fields set apart by tabs."""
    print(*map(shown, fields), sep="\t")


def say(text: str) -> None:
    """One line of standard output for a person, however long."""
    console.print(shown(text), soft_wrap=True)


def remark(text: str) -> None:
    """One faint line beside the results, on standard error."""
    errors.print(Text(shown(text), "dim"), soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    print(json.dumps(value, ensure_ascii=False))


def print_error(code: str, reason: str, *, as_json: bool) -> None:
    """An error on standard error, on one line unless it brings a log."""
    if as_json:
        errors.print(json.dumps({"error": code, "reason": reason}, ensure_ascii=False), soft_wrap=True)
    else:
        lines = "\n".join(map(shown, reason.splitlines()))
        errors.print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


@contextmanager
def job_bar(title: str) -> Iterator[Callable[[JobStatus], None]]:
    """A live bar; call what it yields with each new status."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        ImageRate(),
        TimeRemainingColumn(),
        Note(),
    )
    with Progress(*columns, console=errors, speed_estimate_period=30, transient=True) as progress:
        task = progress.add_task(shown(title), total=None, note=("", ""))
        said = [""]

        def show(status: JobStatus) -> None:
            if status.trouble and status.trouble != said[0]:
                said[0] = status.trouble
                remark(held_up(status))
            progress.update(
                task, total=status.submitted, completed=status.counts.total, note=_note(status), refresh=True
            )

        yield show


def _note(status: JobStatus) -> tuple[str, str]:
    if status.trouble:
        return "held up", "yellow"
    if status.counts.failed:
        return f"{status.counts.failed:,} failed", "yellow"
    waits = not status.counts.total and not status.shards_claimed
    return ("waiting for a worker", "dim") if waits else ("", "")


def held_up(status: JobStatus) -> str:
    """What keeps the workers from going on with the job now."""
    return f"held up, and tried again: {status.trouble}"


def summary(status: JobStatus) -> Text:
    """One line: state and counts."""
    counts = [f"{number:,} {name}" for name, number in status.counts.model_dump().items() if number]
    return Text.assemble(
        (status.state.value, STYLES[status.state]),
        f": {status.submitted:,} submitted = {' + '.join(counts) or '0'}"
        if status.finished
        else f": {status.counts.total:,} of {status.submitted:,} images ({', '.join(counts) or 'none yet'})",
    )


def remark_left_out(record: JobRecord | Preview) -> None:
    """What was found and is not submitted, by reason, with an example of each."""
    from maskmill.jobs.intake import in_words

    if record.left_out:
        remark(f"{record.found:,} found; left out: {in_words(record.left_out, record.left_out_examples)}")


def found_line(status: JobStatus) -> str:
    """The account from the sources to the job."""
    from maskmill.jobs.intake import in_words

    left_out = sum(status.left_out.values())
    return (
        f"{status.found:,} found = {status.submitted:,} submitted + {left_out:,} left out: {in_words(status.left_out)}"
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
        table.add_row(status.job, Text(status.state.value, STYLES[status.state]), *numbers, shown(status.out))
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
                table.add_row(reason, f"{1000 * seconds / max(1, result.images):,.1f}", "", "", style="dim")
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


def print_end(status: JobStatus) -> None:
    """The account, and for each code how many images failed, or have a mask and a warning, and one of them."""
    console.print(summary(status), soft_wrap=True)
    if status.left_out:
        say(found_line(status))
    if status.reason:
        say(status.reason)
    if status.trouble:
        say(held_up(status))
    for title, numbers in (("failed", status.failures), ("warned", status.warnings)):
        if numbers:
            console.print(codes_table(title, numbers, status), soft_wrap=True)


def codes_table(title: str, numbers: dict[str, int], status: JobStatus) -> Table:
    """Images by code, with the reason of one of each."""
    table = Table(title, "code", "for example", box=None, pad_edge=False)
    table.columns[-1].overflow = "fold"
    for code, number in numbers.items():
        example = status.examples.get(code)
        table.add_row(f"{number:,}", shown(code), shown(example.reason) if example else "")
    return table


def by_number(amounts: Iterable[tuple[int, str]]) -> str:
    """`[(2, "jobs"), (0, "masks")]` as `2 jobs`: what there is none of is left out."""
    return ", ".join(f"{number:,} {name}" for number, name in amounts if number) or "nothing"


def size(number: int) -> str:
    """Bytes in the unit that one reads best: `1536` is `1.5 kB`."""
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:,.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:,.1f} {unit}"
