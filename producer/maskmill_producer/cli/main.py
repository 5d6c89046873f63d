"""The `maskmill` command: submit, follow and fetch jobs, or run one from end to end on this machine."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import stamina
import typer

from maskmill.client import Client, Job
from maskmill.logs import configure_logs
from maskmill.schema import Execution, Spec
from maskmill_producer.cli import display, exits, options
from maskmill_producer.cli import jobs as jobs_cli
from maskmill_producer.cli import servers as servers_cli
from maskmill_producer.cli.display import console, errors
from maskmill_producer.cli.exits import failing_plainly
from maskmill_producer.local import mirror

app = typer.Typer(
    name="maskmill",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Segment images in bulk: queue them, let GPU workers batch them, find the masks in S3.",
    epilog="**Start here**: `maskmill run photos/ --out masks/ --model demo`",
)
app.add_typer(servers_cli.app, name="servers")


@app.command(
    epilog="**Example**: `maskmill run photos/ --out masks/ --model demo`\n\n" + exits.HELP,
)
def run(
    sources: options.Sources,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for masks, metadata and contact sheet.")],
    column: options.Column = None,
    model: options.Model = None,
    revision: options.Revision = None,
    image_processor: options.ImageProcessor = None,
    subtask: options.SubtaskOption = None,
    threshold: options.Threshold = None,
    mask_threshold: options.MaskThreshold = None,
    overlap_mask_area_threshold: options.OverlapThreshold = None,
    dtype: options.DtypeOption = None,
    device: options.Device = "auto",
    devices: options.Devices = "",
    workers_per_device: options.WorkersPerDevice = None,
    batch_size: options.BatchSize = None,
    num_workers: options.NumWorkers = None,
    timeout: options.Timeout = None,
    deterministic: options.Deterministic = None,
    overwrite: options.Overwrite = None,
    max_failures: options.MaxFailures = None,
    json: options.Json = False,
) -> None:
    """Segment images on this machine, from sources to masks in a folder; needs no server and no root.

    Starts an embedded broker and object store (127.0.0.1 only) and one worker, and stops them at the end. For many
    images on a CPU, `--devices cpu --workers-per-device N` does more, and takes the memory of N workers.
    Interrupted, the same command goes on where it stopped.
    """
    from maskmill_producer.local.run import Events, Plan, worker_options
    from maskmill_producer.local.run import run as run_plan

    with failing_plainly(json, "stopped; the same command goes on where this one was"):
        parameters = pipeline_parameters(locals())
        plan = Plan(tuple(sources), column, parameters, out, worker_options(device, devices, workers_per_device))
        with nullcontext(lambda _: None) if json else display.job_bar("segmenting") as show:
            result = run_plan(plan, Events(_note_unless(json), _say_submitted(json), show))
        if json:
            sheet = str(result.sheet) if result.sheet else None
            display.print_json(display.status_json(result.status) | {"folder": str(out), "contact_sheet": sheet})
        else:
            display.print_end(result.status, mirror.failures(out))
            console.print(f"{result.masks:,} masks, metadata.jsonl and manifest.json in {out}", soft_wrap=True)
            if result.sheet:
                console.print(f"contact sheet: {result.sheet}", soft_wrap=True)
    exits.exit_by_state(result.status)


def pipeline_parameters(options_given: dict[str, Any]) -> dict[str, Any]:
    """Those options that are the pipeline's and were given."""
    names = (*Spec.model_fields, *Execution.model_fields)
    return {name: options_given[name] for name in names if options_given.get(name) is not None}


def _note_unless(json: bool) -> Any:
    return (lambda _: None) if json else (lambda text: errors.print(f"[dim]{text}…"))


def _say_submitted(json: bool) -> Any:
    def say(job: Job, resumed: bool) -> None:
        if not json:
            images = job.record().images
            errors.print(f"[dim]{'continuing' if resumed else 'submitted'} job {job.id}: {images:,} images")

    return say


@app.command(epilog="**Example**: `maskmill bench photos/ --images 500 --batch-size auto`\n\n" + exits.HELP)
def bench(
    sources: options.Sources,
    images: Annotated[int, typer.Option(min=1, help="Take the first so many images.")] = 200,
    column: options.Column = None,
    model: options.Model = None,
    revision: options.Revision = None,
    image_processor: options.ImageProcessor = None,
    subtask: options.SubtaskOption = None,
    threshold: options.Threshold = None,
    mask_threshold: options.MaskThreshold = None,
    overlap_mask_area_threshold: options.OverlapThreshold = None,
    dtype: options.DtypeOption = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    num_workers: options.NumWorkers = None,
    timeout: options.Timeout = None,
    deterministic: options.Deterministic = None,
    json: options.Json = False,
) -> None:
    """Run a model on your own images, say where the time goes and what to turn; stores nothing.

    A real job with a broker, an object store and a worker of its own on this machine, all gone afterwards.
    """
    from maskmill_producer.local.bench import bench as run_bench

    with failing_plainly(json):
        parameters = pipeline_parameters(locals())
        with nullcontext(lambda _: None) if json else display.job_bar("measuring") as show:
            result = run_bench(sources, parameters, device, images, column, _note_unless(json), show)
        if json:
            display.print_json(display.bench_json(result))
        else:
            console.print(display.bench_table(result))
            console.print(display.bench_summary(result), soft_wrap=True)
    exits.exit_by_state(result.status)


@app.command(epilog="**Example**: `maskmill submit s3://photos/2026/ --out s3://labels/2026 --subtask panoptic`")
def submit(
    sources: options.Sources,
    out: options.Out = None,
    column: options.Column = None,
    model: options.Model = None,
    revision: options.Revision = None,
    image_processor: options.ImageProcessor = None,
    subtask: options.SubtaskOption = None,
    threshold: options.Threshold = None,
    mask_threshold: options.MaskThreshold = None,
    overlap_mask_area_threshold: options.OverlapThreshold = None,
    dtype: options.DtypeOption = None,
    batch_size: options.BatchSize = None,
    num_workers: options.NumWorkers = None,
    timeout: options.Timeout = None,
    deterministic: options.Deterministic = None,
    overwrite: options.Overwrite = None,
    priority: options.Priority = None,
    max_failures: options.MaxFailures = None,
    json: options.Json = False,
) -> None:
    """Queue a job for the workers and print its id.

    Servers come from MASKMILL_BROKER_URL, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or `.env`).
    Local paths must be readable by the workers too.
    """
    with failing_plainly(json):
        parameters = pipeline_parameters(locals())
        job = Client().submit(sources, out=out, column=column, stdin=sys.stdin, **parameters)
        record = job.record()
        if json:
            display.print_json({"job": job.id, "out": job.out, "images": record.images, "shards": record.shards})
        else:
            console.print(job.id)
            errors.print(f"[dim]{record.images:,} images to {job.out}; follow with: maskmill watch {job.id}")


jobs_cli.add_commands(app)


def main() -> None:
    """The console script."""
    # SIGTERM takes the way of Ctrl-C, so that what was started is stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    configure_logs(json=False, level=logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks(())  # whoever waits gets one line at the end
    app()
