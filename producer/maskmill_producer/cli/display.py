"""What a person sees on the terminal: lines, tables, summaries and errors; `progress` has the bar.

Paths, labels, reasons and ids come from elsewhere. Both consoles take every text as it is: no markup, no emoji names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from maskmill import terminal
from maskmill.terminal import shown
from maskmill.words import counted

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
NUMBERS = ("images", "stored", "reused", "failed")
UNBOUNDED = 10_000
"""Columns that no line of ours has: a pipe has no width."""


def print_line(*fields: object) -> None:
    """One line of standard output, its fields set apart by tabs; terminals lose a tab at their edge."""
    print(*map(shown, fields), sep="  " if console.is_terminal else "\t")


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
    """An error on standard error, above a bar if there is one."""
    terminal.print_error(code, reason, as_json=as_json, console=errors)


def held_up(status: JobStatus) -> str:
    """What keeps the workers from going on with the job now."""
    return f"held up, and tried again: {status.trouble}"


def summary(status: JobStatus) -> Text:
    """One line: state and counts."""
    counts = [f"{number:,} {name}" for name, number in status.done.model_dump().items() if number]
    return Text.assemble(
        (status.state.value, STYLES[status.state]),
        f": {status.submitted:,} submitted = {' + '.join(counts) or '0'}"
        if status.finished
        else f": {status.done.total:,} of {counted(status.submitted, 'image')} ({', '.join(counts) or 'none yet'})",
    )


def remark_unfinished(status: JobStatus) -> None:
    """That a job of which results are shown has not ended, and will have more."""
    if not status.finished:
        remark(f"the job still runs: {status.counts.total:,} of {status.submitted:,} images have ended so far")


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


def print_table(table: Table) -> None:
    """A table as wide as the terminal; in a pipe, each row is a line."""
    if console.is_terminal:
        console.print(table)
        return
    console.width = UNBOUNDED
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        console.print(line.rstrip(), soft_wrap=True)


def print_jobs(statuses: list[JobStatus]) -> None:
    """All jobs: a row each where rows fit the terminal, else a few lines each."""
    table = _jobs_table(statuses)
    needed = Measurement.get(console, console.options.update(max_width=UNBOUNDED), table).maximum
    if not console.is_terminal or needed <= console.width:
        print_table(table)
        return
    for status in statuses:
        say(status.job)
        console.print(Padding(summary(status), (0, 0, 0, 2)))
        say(f"  {status.out}")


def _jobs_table(statuses: list[JobStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("job", "state", "images", "stored", "reused", "failed", "output"):
        table.add_column(name, no_wrap=True, justify="right" if name in NUMBERS else "left")
    for status in statuses:
        done = status.done
        numbers = (f"{number:,}" for number in (status.submitted, done.stored, done.reused, done.failed))
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
        f"{result.images_per_second:,.1f} images/s over {counted(result.images, 'image')}, ",
        f"device busy {result.busy:.0%}\n",
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
    if status.waiting:
        say(f"waiting: {status.waiting.reason}")
    if status.trouble:
        say(held_up(status))
    for title, numbers in (("failed", status.failures), ("warned", status.warnings)):
        if numbers:
            print_table(codes_table(title, numbers, status))


def codes_table(title: str, numbers: dict[str, int], status: JobStatus) -> Table:
    """Images by code, with the reason of one of each."""
    table = Table(Column(title, no_wrap=True), Column("code", no_wrap=True), box=None, pad_edge=False)
    table.add_column("for example", overflow="fold")
    for code, number in numbers.items():
        example = status.examples.get(code)
        table.add_row(f"{number:,}", shown(code), shown(example.reason) if example else "")
    return table


def by_number(amounts: Iterable[tuple[int, str, str]]) -> str:
    """`[(2, "job", "jobs"), (0, "mask", "masks")]` as `2 jobs`: what there is none of is left out."""
    return ", ".join(counted(*amount) for amount in amounts if amount[0]) or "nothing"


def size(number: int) -> str:
    """Bytes in the unit that one reads best: `1536` is `1.5 kB`."""
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:,.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:,.1f} {unit}"
