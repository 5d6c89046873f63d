"""`maskmill servers`: the embedded broker and object store, by hand."""

from __future__ import annotations

import shlex

import typer

from maskmill.settings import load_settings
from maskmill_producer import embedded
from maskmill_producer.cli import display, options
from maskmill_producer.cli.display import console, errors
from maskmill_producer.cli.exits import failing_plainly

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="The embedded broker and object store.")


@app.command("start", epilog='**Example**: `maskmill servers start && eval "$(maskmill servers env)"`')
def servers_start(json: options.Json = False) -> None:
    """Start the embedded broker and object store on 127.0.0.1 and leave them running."""
    with failing_plainly(json):
        started = embedded.start(load_settings().state_dir)
        if json:
            display.print_json({"broker": started.broker_url.rpartition("@")[2], "s3": started.s3_endpoint_url})
        else:
            console.print(f"broker and object store are up; their data is in {started.state_dir}", soft_wrap=True)
            errors.print('[dim]for workers and clients in this shell: eval "$(maskmill servers env)"')


@app.command("env", epilog='**Example**: `eval "$(maskmill servers env)"`')
def servers_env(json: options.Json = False) -> None:
    """Print the servers' settings as shell exports, credentials included; starts the servers if need be."""
    with failing_plainly(json):
        environment = embedded.start(load_settings().state_dir).environment()
        if json:
            display.print_json(environment)
        else:
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}")


@app.command("status", epilog="**Example**: `maskmill servers status --json`")
def servers_status(json: options.Json = False) -> None:
    """Say whether the embedded servers run."""
    with failing_plainly(json):
        found = embedded.status(load_settings().state_dir)
        if json:
            display.print_json({"running": found.running})
        else:
            console.print("running" if found.running else "not running: maskmill servers start")


@app.command("stop", epilog="**Example**: `maskmill servers stop`")
def servers_stop(json: options.Json = False) -> None:
    """Stop the embedded servers; their data stays."""
    with failing_plainly(json):
        stopped = embedded.stop(load_settings().state_dir)
        display.print_json({"stopped": stopped}) if json else console.print(
            "stopped" if stopped else "were not running"
        )
