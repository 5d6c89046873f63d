"""`maskmill-worker`: one process for one device, or a fleet of them, taking shards until it is stopped."""

from __future__ import annotations

import json as jsonlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskmill import exit_codes
from maskmill.child_process import Backoff
from maskmill.cores import bound_cores
from maskmill.device import check, pin, refuse_contradictions
from maskmill.errors import MaskmillError, ModelUnavailable, UsageError
from maskmill.machine import memory_of_models
from maskmill.parent import die_with_parent
from maskmill.settings import Settings, load_settings
from maskmill.terminal import Program, print_error
from maskmill_worker.process.fleet import Fleet, FleetFailed
from maskmill_worker.process.health import State, WorkerHealth, workers
from maskmill_worker.process.member import members

cli = Program(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SPIN_COUNT = "1000"
"""About 0.01 ms (libgomp's env.c: 'a rough estimation of 100000 spins per msec')."""

EPILOG = """
**Examples**

`maskmill-worker` — one worker on the best device, servers from MASKMILL_BROKER_URL and AWS_*

`maskmill-worker --device cuda:1 --batch-size 8 --num-workers 6`

`maskmill-worker --devices all` — a worker for each GPU of this machine, started again when one ends

`maskmill-worker --devices cuda:0,cuda:1 --workers-per-device 2`

`maskmill-worker health` — do the workers of this machine live?

**Exit codes**: 0 stopped in order · 2 wrong use · 3 --model not to be had · 5 the workers of a fleet keep ending ·
130 stopped by force
"""

HEALTH_EPILOG = """
**Examples**

`maskmill-worker health` — a line for each worker

`HEALTHCHECK CMD ["maskmill-worker", "health"]` — in a Dockerfile

`maskmill-worker health --json | jq '.workers[] | select(.alive | not)'`
"""


@cli.callback(invoke_without_command=True, epilog=EPILOG)
def worker(
    context: typer.Context,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N (pinned before torch loads).")] = "",
    devices: Annotated[
        str, typer.Option(help="A fleet: a worker for each of all, cpu, or cuda:0,cuda:1… (N as torch counts).")
    ] = "",
    workers_per_device: Annotated[
        int | None, typer.Option(min=1, help="With --devices: so many workers on each.", show_default="1")
    ] = None,
    batch_size: Annotated[
        str, typer.Option(help="Images a forward pass, or 'auto', unless the job says.", show_default="settings, 4")
    ] = "",
    num_workers: Annotated[
        int, typer.Option(min=-1, help="DataLoader processes of a worker, unless the job says. -1: settings.")
    ] = -1,
    max_image_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Images with more fail as decompression_bomb.", show_default="settings, 178,956,970"),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Run models through torch.compile.")] = False,
    model: Annotated[
        str, typer.Option(help="Check before the start that this model can be had; exit code 3 if not.")
    ] = "",
    revision: Annotated[str, typer.Option(help="Revision of --model on the hub.")] = "",
    name: Annotated[str, typer.Option(help="Node name, unique in the fleet; --devices makes names of its own.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Log events as JSON lines.")] = False,
    with_parent: Annotated[int, typer.Option(hidden=True)] = 0,
    backoff_seconds: Annotated[float, typer.Option(hidden=True)] = Backoff.first_seconds,
) -> None:
    """Take shards from the queue, segment their images, store the masks: on one device, or with --devices on each.

    Start it on any number of machines: each needs only the settings (MASKMILL_BROKER_URL, AWS_ENDPOINT_URL_S3,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and, for local paths, the files.
    At SIGTERM or Ctrl-C it begins no further shard, finishes those in flight or gives them back after
    MASKMILL_DRAIN_SECONDS, and leaves; at a second one it gives them back at once (a fleet: ends at once).

    With --devices each worker is a process that sees one device. One that ends is started again, after 1, 2, 4… s;
    five ends in a row within a minute of their start stop the fleet, with the reason.
    """
    if context.invoked_subcommand:
        return
    if with_parent:
        die_with_parent(with_parent, signal.SIGTERM)
    environment = dict(os.environ)  # as it was given: what follows would not mean the same a second time
    _let_idle_threads_sleep()
    os.environ.update(memory_of_models())  # before the processes start
    _keep_trackers_quiet()
    _set(
        MASKMILL_BATCH_SIZE=batch_size or None,
        MASKMILL_NUM_WORKERS=num_workers if num_workers >= 0 else None,
        MASKMILL_MAX_IMAGE_PIXELS=max_image_pixels,
        MASKMILL_COMPILE=compiled or None,
        MASKMILL_LOG_JSON=json or None,
    )
    with _errors_are_exit_codes(json):
        _refuse_contradictions(device, devices, workers_per_device, name)
        settings = load_settings()
        if devices:
            passed_on = [*_given("--model", model), *_given("--revision", revision), *(["--json"] if json else [])]
            code = _fleet(settings, devices, workers_per_device or 1, passed_on, backoff_seconds).run()
            raise typer.Exit(code)
        settings = settings.model_copy(update={"device": device or settings.device})
        _keep_torch_to(settings.cores_to_use)
        _prepare(settings.device, model, revision or None)
        _serve(settings, name, environment)


@cli.command(epilog=HEALTH_EPILOG)
def health(json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Say whether the workers of this machine live; exit code 0 if all do, 1 if one does not or there is none.

    Looks at this user's workers of the queue that the settings name (MASKMILL_QUEUE). Those that left in order do
    not count; one that was killed does, until a worker of its name starts or an hour has passed. Asks no server:
    a worker that waits for its broker is healthy. One that leaves messages in the queue although it has nothing to
    do, is deaf: it mends itself within a minute, and is not healthy until then.
    """
    try:
        settings = load_settings()
        found = workers(settings.queue, settings.run_dir)
        if not found:
            raise UsageError(
                f"no worker of queue '{settings.queue}' runs on this machine: start one with `maskmill-worker`, or, if "
                "one does, give this command its user, MASKMILL_QUEUE and MASKMILL_RUN_DIR"
            )
    except MaskmillError as error:
        print_error(error.code, str(error), as_json=json)
        raise typer.Exit(1) from None
    healthy = all(health.alive for health in found)
    if json:
        workers_found = [asdict(health) for health in found]
        typer.echo(jsonlib.dumps({"healthy": healthy, "queue": settings.queue, "workers": workers_found}))
    else:
        typer.echo("\n".join(map(_line, found)))
    raise typer.Exit(0 if healthy else 1)


def _line(health: WorkerHealth) -> str:
    word = "alive" if health.alive else "DEAF " if health.state is State.DEAF else "DEAD "
    detail = "" if health.alive else f": {health.reason}"
    doing = f"{health.state} for {health.state_seconds:.0f} s"
    return f"{word} {health.node} ({doing}, process {health.pid}, seen {health.seen_seconds_ago:.0f} s ago){detail}"


def _let_idle_threads_sleep() -> None:
    """Have torch's OpenMP threads spin for a moment, and sleep then.

    By default they spin for milliseconds, which loader and upload threads on the same cores need; but without any
    spinning every short operation of the model waits for a thread to wake. Must be set before torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # for LLVM's runtime
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # for GNU's, where it goes before the policy


def _keep_torch_to(cores: int) -> None:
    """Have torch start no more threads than the worker may count on: it knows nothing of a container's quota.

    Where these are all that the process is bound to, torch decides: it may take physical cores alone.
    """
    if cores < bound_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def _keep_trackers_quiet() -> None:
    """Let the processes that clean up after one that was killed do so without lines past our log."""
    trackers = ("billiard.semaphore_tracker", "multiprocessing.resource_tracker")
    os.environ.setdefault("PYTHONWARNINGS", ",".join(f"ignore::UserWarning:{each}" for each in trackers))


def _set(**variables: object) -> None:
    """Set what was asked for in the environment, from which the workers of a fleet read their settings."""
    os.environ.update({name: str(value) for name, value in variables.items() if value is not None})


@contextmanager
def _errors_are_exit_codes(json: bool) -> Iterator[None]:
    try:
        yield
    except MaskmillError as error:
        print_error(error.code, str(error), as_json=json)
        raise typer.Exit(_exit_code(error)) from None


def _exit_code(error: MaskmillError) -> int:
    match error:
        case FleetFailed():
            return error.exit_code
        case ModelUnavailable():
            return exit_codes.MODEL
    return exit_codes.USAGE


def _refuse_contradictions(device: str, devices: str, workers_per_device: int | None, name: str) -> None:
    refuse_contradictions(device, devices, workers_per_device)
    if devices and name:
        raise UsageError("--devices names its workers itself (gpu0@host, gpu1@host…): leave --name out")


def _given(option: str, value: str) -> list[str]:
    return [option, value] if value else []


def _fleet(settings: Settings, devices: str, per_device: int, passed_on: list[str], backoff_seconds: float) -> Fleet:
    from maskmill.logs import configure_logs

    configure_logs(settings.log_json)
    # The very script that runs now, by the very interpreter: another installation may come first in PATH.
    command = [sys.executable, str(Path(sys.argv[0]).resolve()), *passed_on]
    chosen = members(devices, per_device, cores=settings.cores_to_use)
    return Fleet(chosen, command, settings.drain_seconds, Backoff(first_seconds=backoff_seconds))


def _prepare(device: str, model: str, revision: str | None) -> None:
    pin(device)
    check(device)
    if model:
        from maskmill.models.files import find_model

        find_model(model, revision)


def _serve(settings: Settings, name: str, environment: Mapping[str, str]) -> None:
    # Before Celery is loaded: its handler for SIGTERM, the second stage of `process.drain`, interrupts the task then.
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"
    from maskmill_worker.main_process import serve

    serve(settings, name, environment)


def main() -> None:
    """The console script."""
    cli()
