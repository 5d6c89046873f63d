"""`maskmill-worker`: one process for one device, taking shards until it is stopped."""

from __future__ import annotations

import json as jsonlib
import os
import signal
from typing import Annotated, Any

import typer

from maskmill import exit_codes
from maskmill.errors import MaskmillError, ModelUnavailable
from worker.device import check, pin
from worker.drain import drain_file
from worker.parent import die_with_parent

cli = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

EPILOG = """
**Examples**

`maskmill-worker` — best device, servers from MASKMILL_BROKER_URL and AWS_*

`maskmill-worker --device cuda:1 --batch-size 8 --num-workers 6`
"""


@cli.command(epilog=EPILOG)
def worker(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N (pinned before torch loads).")] = "",
    batch_size: Annotated[
        str, typer.Option(help="Images a forward pass, or 'auto', unless the job says.", show_default="settings, 4")
    ] = "",
    num_workers: Annotated[
        int, typer.Option(min=-1, help="DataLoader processes, unless the job says. -1: settings.")
    ] = -1,
    compiled: Annotated[bool, typer.Option("--compile", help="Run models through torch.compile.")] = False,
    model: Annotated[
        str, typer.Option(help="Check before the start that this model can be had; exit code 3 if not.")
    ] = "",
    revision: Annotated[str, typer.Option(help="Revision of --model on the hub.")] = "",
    name: Annotated[str, typer.Option(help="Node name, unique in the fleet.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Log events as JSON lines.")] = False,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Take shards from the queue, segment their images on one device, store the masks.

    Start as many as there are devices, on any number of machines: each needs only the settings
    (MASKMILL_BROKER_URL, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and, for local paths,
    the files.
    SIGTERM gives the shard in hand back and leaves.
    """
    if with_parent:
        die_with_parent(signal.SIGTERM)
    changes: dict[str, Any] = {
        "MASKMILL_BATCH_SIZE": batch_size or None,
        "MASKMILL_NUM_WORKERS": num_workers if num_workers >= 0 else None,
        "MASKMILL_COMPILE": compiled or None,
        "MASKMILL_LOG_JSON": json or None,
    }
    # Idle OpenMP threads that spin take the cores from the loader processes and the upload threads; read by torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Through the environment, because spawned pool processes read their settings from it.
    os.environ.update({key: str(value) for key, value in changes.items() if value is not None})
    try:
        _prepare(device, model, revision or None)
    except ModelUnavailable as error:
        _say(error, json)
        raise typer.Exit(exit_codes.MODEL) from None
    except MaskmillError as error:
        _say(error, json)
        raise typer.Exit(exit_codes.USAGE) from None
    _serve(name)


def _prepare(device: str, model: str, revision: str | None) -> None:
    from maskmill.settings import load_settings

    chosen = device or load_settings().device
    pin(chosen)
    check(chosen)
    if model:
        from worker.model_files import check_reachable

        check_reachable(model, revision)


def _serve(name: str) -> None:
    # SIGTERM takes the way of SIGQUIT: the task in hand gets `worker_soft_shutdown_timeout` and is then interrupted.
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"
    from maskmill.logs import configure_logs
    from worker.tasks import app, settings

    configure_logs(settings.log_json)
    node = ["-n", name] if name else ["-n", f"worker{os.getpid()}@%h"]
    with drain_file():
        app.worker_main(["--quiet", "worker", "--loglevel=WARNING", "--without-gossip", "--without-mingle", *node])


def _say(error: MaskmillError, json: bool) -> None:
    text = jsonlib.dumps({"error": error.code, "reason": str(error)}) if json else f"error: {error}"
    typer.echo(text, err=True)


def main() -> None:
    """The console script."""
    cli()
