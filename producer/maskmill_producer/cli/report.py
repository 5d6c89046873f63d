"""`maskmill report`: a page to look at a job's results."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmill.errors import MaskmillError
from maskmill.words import counted
from maskmill_producer.cli import display, options
from maskmill_producer.cli.exits import failing_plainly
from maskmill_producer.cli.jobs import client

if TYPE_CHECKING:
    from maskmill_producer.report.page.report import Written
    from maskmill_producer.report.page.source import Source

commands = typer.Typer()


def add_commands(app: typer.Typer) -> None:
    """Make this command one of the `maskmill` command itself."""
    app.registered_commands += commands.registered_commands


@commands.command(
    epilog="**Examples**: `maskmill report masks/ --open`\n\n"
    "`maskmill report 20261122-205301-9f86d081 --out report/ --gallery 500`"
    "\n\n**Exit codes**: 0 done · 2 wrong use, or a job that has not ended · 5 store not there · 130 interrupted"
)
def report(
    job: options.JobOrFolder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the report.", show_default="DIR/report, or report-JOB"),
    ] = None,
    from_: options.From = None,
    gallery: Annotated[
        int, typer.Option(min=0, metavar="N", help="Pictures: some of all images, and those with the lowest scores.")
    ] = 120,
    all_: Annotated[bool, typer.Option("--all", help="A picture of each image: about 30 kB, and 20 ms.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: options.Json = False,
) -> None:
    """Write a page about a job that has ended: its account, classes, scores, failures, speed, and its images.

    The page opens from disk, without a server or network. All images are listed; pictures are drawn from the images
    themselves, which are read once more from here. Written again, it replaces the report that was there.
    """
    with failing_plainly(json, "stopped; the same command writes the report anew"):
        from maskmill_producer.cli.progress import counting_bar
        from maskmill_producer.report.page.report import write_report

        source, place = _source(job, from_)
        with counting_bar("reporting", quiet=json) as show:
            written = write_report(source, out or place, None if all_ else gallery, show)
        display.print_json(report_json(written)) if json else print_report(written)
        if open_ and not webbrowser.open(written.page.resolve().as_uri()):
            display.remark(f"no browser is to be had here: open {written.page} yourself")


def _source(job: str, prefix: str | None) -> tuple[Source, Path]:
    from maskmill_producer.local.page import REPORT, OfFolder, OfJob
    from maskmill_producer.local.recorded import Recorded

    if folder := Recorded.named(job):
        return OfFolder(folder.path), folder.path / REPORT
    found = client().job(job, prefix)
    return OfJob(found), Path(f"report-{found.id}")


def report_json(written: Written) -> dict[str, Any]:
    """What was written, for machines."""
    return {
        "report": str(written.page),
        "images": written.images,
        "pictures": written.pictures,
        "unreadable": written.unreadable,
        "problems": [problem.model_dump() for problem in written.problems],
    }


def print_report(written: Written) -> None:
    """Where the page is, and which pictures are missing."""
    for each in written.problems:
        display.print_error(each.code, each.text, as_json=False)
    if written.unreadable:
        pictures = counted(written.unreadable, "picture")
        display.remark(f"{pictures} without the image or its masks: both are read again, from here")
    pictures = counted(written.pictures, "picture")
    display.say(f"report of {counted(written.images, 'image')}, {pictures}: {written.page}")


def print_report_of_run(report: Written | MaskmillError) -> None:
    """One line: where the page is, or why there is none."""
    if isinstance(report, MaskmillError):
        display.remark(f"no report: {report}")
    else:
        display.say(f"report: {report.page}")


def report_of_run_json(report: Written | MaskmillError) -> dict[str, Any]:
    """The same for machines."""
    if isinstance(report, MaskmillError):
        return {"report": None, "report_problem": str(report)}
    return {"report": str(report.page), "report_problem": None}
