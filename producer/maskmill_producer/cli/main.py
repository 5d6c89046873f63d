"""The `maskmill` command: submit, follow and fetch jobs, or run one from end to end on this machine.

What a command needs is imported when it runs: `--help` loads neither client nor servers nor pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmill import exit_codes
from maskmill.parameters import PipelineParameters
from maskmill.terminal import Program
from maskmill.words import counted
from maskmill_producer.cli import display, dry_runs, exits, folders, options
from maskmill_producer.cli import doctor as doctor_cli
from maskmill_producer.cli import export as export_cli
from maskmill_producer.cli import jobs as jobs_cli
from maskmill_producer.cli import lifecycle as lifecycle_cli
from maskmill_producer.cli import report as report_cli
from maskmill_producer.cli import scoring as scoring_cli
from maskmill_producer.cli import servers as servers_cli
from maskmill_producer.cli.exits import failing_plainly

if TYPE_CHECKING:
    from maskmill import Job
    from maskmill.models.doubt import Doubt
    from maskmill_producer.local.run import RunResult

app = Program(
    name="maskmill",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Segment images in bulk: queue them, let GPU workers batch them, find the masks in S3.",
    epilog="**Start here**: `maskmill run photos/ --out masks/`",
)
app.add_typer(servers_cli.app, name="servers")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"maskmill {version('maskmill')}")
        raise typer.Exit


@app.callback()
def without_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options that need no command."""


@app.command(
    epilog="**Example**: `maskmill run photos/ --out masks/`\n\n" + exits.HELP,
)
@options.takes_parameters("priority")
def run(
    sources: options.Sources,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for masks, metadata and contact sheet.")],
    parameters: PipelineParameters,
    column: options.Column = None,
    root: options.Root = None,
    all_files: options.AllFiles = False,
    strict: options.Strict = False,
    limit: options.Limit = None,
    dry_run: options.DryRun = False,
    device: options.Device = "auto",
    devices: options.Devices = "",
    workers_per_device: options.WorkersPerDevice = None,
    max_image_pixels: options.MaxImagePixels = None,
    overlays: options.Overlays = False,
    json: options.Json = False,
) -> None:
    """Segment images on this machine, from sources to masks in a folder; needs no server and no root.

    Starts an embedded broker and object store (127.0.0.1 only) and one worker, and stops them at the end. On a CPU
    with many cores, `--devices cpu --workers-per-device N` does more, and takes the memory of N workers.
    Interrupted, the same command goes on where it stopped.

    The folder holds the results of the last run: masks, metadata.jsonl, failures.jsonl, classes.json, a contact sheet,
    and with --overlays a picture for each image. Other parameters replace them, and masks that are no longer part are
    removed; what else is there stays, and other sources are refused. `maskmill status DIR` and `maskmill failures DIR`
    read it without a server. The object store keeps the last run's masks too, so that the next run makes only those
    that are missing; `maskmill servers purge` deletes them.
    """
    with failing_plainly(json, "stopped; the same command goes on where this one was"):
        from maskmill_producer.cli.progress import job_bar
        from maskmill_producer.local.plan import Plan, Selection
        from maskmill_producer.local.run import Events
        from maskmill_producer.local.run import run as run_plan

        selection = Selection(tuple(sources), column, root or ".", all_files, strict, limit)
        plan = Plan(selection, parameters, out, device, devices, workers_per_device, max_image_pixels, overlays)
        if dry_run:
            dry_runs.show_run(plan, json)
            return
        with nullcontext(lambda _: None) if json else job_bar("segmenting", own_worker=True) as show:
            result = run_plan(plan, Events(_step(json), _say_submitted(json), show))
        _print_run(result, out, json)
    exits.exit_by_state(result.status)
    if result.mirrored.not_copied or (result.drawn and result.drawn.not_drawn):
        raise typer.Exit(exit_codes.FAILURES)


def _print_run(result: RunResult, out: Path, json: bool) -> None:
    if json:
        found = {"folder": str(out), "contact_sheet": str(result.sheet) if result.sheet else None}
        did = folders.folder_json(result.mirrored, result.drawn) | report_cli.report_of_run_json(result.report)
        display.print_json(display.status_json(result.status) | found | did)
        return
    display.print_end(result.status)
    folders.print_masks(result.mirrored, out, ", metadata.jsonl, classes.json and manifest.json")
    folders.print_failures(result.status, out)
    folders.print_overlays(result.drawn, out)
    if result.sheet:
        display.say(f"contact sheet: {result.sheet}")
    report_cli.print_report_of_run(result.report)
    display.remark("the masks are kept for the next run, too; `maskmill servers purge` deletes what is kept")


def _step(json: bool) -> Callable[[str], None]:
    return (lambda _: None) if json else (lambda text: display.remark(f"{text}…"))


def _say_submitted(json: bool) -> Callable[[Job, bool], None]:
    def say(job: Job, resumed: bool) -> None:
        if not json:
            record = job.record()
            display.remark(
                f"{'continuing' if resumed else 'submitted'} job {job.id}: {counted(record.images, 'image')}"
            )
            display.remark_left_out(record)

    return say


@app.command(epilog="**Example**: `maskmill bench photos/ --images 500 --batch-size auto`\n\n" + exits.HELP)
@options.takes_parameters("overwrite", "priority", "max_failures")
def bench(
    sources: options.Sources,
    parameters: PipelineParameters,
    images: Annotated[int, typer.Option(min=1, help="Take the first so many images.")] = 200,
    column: options.Column = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Run a model on your own images, say where the time goes and what to turn; stores nothing.

    A real job with a broker, an object store and a worker of its own on this machine, all gone afterwards.
    """
    from maskmill_producer.cli.progress import job_bar
    from maskmill_producer.local.bench import bench as run_bench

    with failing_plainly(json):
        with nullcontext(lambda _: None) if json else job_bar("measuring", own_worker=True) as show:
            result = run_bench(sources, parameters, device, images, column, _step(json), show)
        if json:
            display.print_json(display.bench_json(result))
        else:
            display.print_table(display.bench_table(result))
            display.console.print(display.bench_summary(result), soft_wrap=True)
    exits.exit_by_state(result.status)


@app.command(
    epilog="**Examples**: `maskmill submit s3://photos/2026/ --out s3://labels/2026 --subtask panoptic`\n\n"
    "`maskmill submit photos/ --wait` — with a bar, and the exit codes of `run`\n\n"
    "`maskmill submit photos/ --limit 10 --dry-run`\n\n" + exits.HELP
)
@options.takes_parameters()
def submit(
    sources: options.Sources,
    parameters: PipelineParameters,
    out: options.Out = None,
    column: options.Column = None,
    root: options.Root = None,
    all_files: options.AllFiles = False,
    strict: options.Strict = False,
    limit: options.Limit = None,
    dry_run: options.DryRun = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job until it ends, as `maskmill watch` does.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Queue a job for the workers and print its id.

    Servers come from MASKMILL_BROKER_URL, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or `.env`).
    Local paths must be readable by the workers too.
    """
    with failing_plainly(json):
        taken: dict[str, Any] = {
            "column": column,
            "root": root,
            "all_files": all_files,
            "strict": strict,
            "limit": limit,
        }
        if dry_run:
            dry_runs.show_submit(sources, parameters, out, taken, json)
            return
        doubt = _doubt(parameters)
        job = jobs_cli.client().submit(sources, out=out, stdin=sys.stdin, **taken, **parameters)
        _print_submitted(job, json, wait)
        if reason := doubt.reason():
            display.remark(f"a worker on this machine could not have the model: {reason}")
    if wait:
        with failing_plainly(json, f"{jobs_cli.STILL_RUNS}: maskmill watch {job.id}"):
            state = jobs_cli.follow(job, json)
        exits.exit_by_state(state)


def _doubt(parameters: PipelineParameters) -> Doubt:
    from maskmill.models.doubt import Doubt
    from maskmill.parameters import parse

    return Doubt(parse(**parameters)[0])


def _print_submitted(job: Job, json: bool, wait: bool) -> None:
    record = job.record()
    if json:
        account = {"found": record.found, "images": record.images, "left_out": record.left_out}
        display.print_json({"job": job.id, "out": job.out, **account, "shards": record.shards})
        return
    display.say(job.id)
    follow = "" if wait else f"; follow with: maskmill watch {job.id}"
    display.remark(f"{counted(record.images, 'image')} to {job.out}{follow}")
    display.remark_left_out(record)


jobs_cli.add_commands(app)
report_cli.add_commands(app)
lifecycle_cli.add_commands(app)
export_cli.add_commands(app)
scoring_cli.add_commands(app)
app.registered_commands += doctor_cli.commands.registered_commands
