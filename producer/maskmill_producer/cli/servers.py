"""`maskmill servers`: the embedded broker and object store, by hand."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from maskmill.errors import UsageError
from maskmill.terminal import Commands
from maskmill_producer.cli import display, options
from maskmill_producer.cli.exits import failing_plainly

app = typer.Typer(
    cls=Commands, no_args_is_help=True, rich_markup_mode="markdown", help="The embedded broker and object store."
)


@app.command("start", epilog='**Example**: `maskmill servers start && eval "$(maskmill servers env)"`')
def servers_start(json: options.Json = False) -> None:
    """Start the embedded broker and object store on 127.0.0.1 and leave them running."""
    from maskmill.settings import load_settings
    from maskmill_producer import embedded

    with failing_plainly(json):
        started = embedded.start(load_settings().state_dir)
        if json:
            display.print_json({"broker": started.broker_url.rpartition("@")[2], "s3": started.s3_endpoint_url})
        else:
            display.say(f"broker and object store are up; their data is in {started.state_dir}")
            display.remark('for workers and clients in this shell: eval "$(maskmill servers env)"')


@app.command("env", epilog='**Example**: `eval "$(maskmill servers env)"`')
def servers_env(json: options.Json = False) -> None:
    """Print the servers' settings as shell exports, credentials included; starts the servers if need be."""
    from maskmill.settings import load_settings
    from maskmill_producer import embedded

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
    from maskmill.settings import load_settings
    from maskmill_producer import embedded

    with failing_plainly(json):
        found = embedded.status(load_settings().state_dir)
        if json:
            display.print_json({"running": found.running})
        else:
            display.say("running" if found.running else "not running: maskmill servers start")


@app.command("stop", epilog="**Example**: `maskmill servers stop`")
def servers_stop(json: options.Json = False) -> None:
    """Stop the embedded servers; their data stays."""
    from maskmill.settings import load_settings
    from maskmill_producer import embedded

    with failing_plainly(json):
        stopped = embedded.stop(load_settings().state_dir)
        display.print_json({"stopped": stopped}) if json else display.say("stopped" if stopped else "were not running")


@app.command("purge", epilog="**Example**: `maskmill servers purge --yes`")
def servers_purge(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, json: options.Json = False
) -> None:
    """Delete all that the embedded servers keep: jobs, masks, queues and logs. Masks in your own folders stay.

    Refused while the servers run: `maskmill servers stop` first.
    """
    from maskmill.settings import load_settings
    from maskmill_producer.embedded.purge import held_bytes, purge

    with failing_plainly(json):
        state_dir = load_settings().state_dir
        if not yes and not json:
            folder, held = held_bytes(state_dir)
            _confirm(f"delete {display.size(held)} of jobs and masks in {folder}?")
        elif not yes:
            raise UsageError("with --json, say --yes: nobody is asked")
        freed = purge(state_dir)
        display.print_json({"freed_bytes": freed}) if json else display.say(f"deleted {display.size(freed)}")


def _confirm(question: str) -> None:
    """Raise `UsageError` for no, and where nobody answers."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the question's line has no end
        raise UsageError("nothing was deleted; where nobody is there to answer, say --yes") from None
