"""`maskmill doctor`: are broker, store and machine as jobs need them?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmill import exit_codes
from maskmill_producer.cli import display, options
from maskmill_producer.cli import jobs as jobs_cli
from maskmill_producer.cli.exits import failing_plainly

if TYPE_CHECKING:
    from maskmill.checks import Check

commands = typer.Typer()

EPILOG = """
**Examples**

`maskmill doctor` — with the settings of this shell, before the first job

`maskmill doctor --out s3://labels/2026 --folder /mnt/masks`

`maskmill doctor --json | jq -r '.checks[] | select(.ok | not) | .problem'`

**Exit codes**: 0 all is well · 2 something is wrong, each with its cure · 5 broker or store not there
"""


@commands.command(epilog=EPILOG)
def doctor(
    out: options.Out = None,
    folder: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder that is to be written to; several times.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Try broker, object store and this machine, and say what is wrong and what to do, a line each.

    What jobs need is tried on keys of its own: in the store a put, conditional puts, a listing and a deletion; in the
    broker its role, its eviction policy, the rights of its user, a script and its clock; here shared memory, memory,
    and room in the folders that are written to. Nothing is left behind.
    """
    from maskmill.doctor import UNREACHABLE, examine

    with failing_plainly(json):
        client = jobs_cli.client()
        where = (out or client.settings.out).rstrip("/")
        checks = examine(client.services, where, folder or ())
        if json:
            display.print_json({"ok": all(check.ok for check in checks), "checks": [*map(_as_json, checks)]})
        else:
            for check in checks:
                display.say(_line(check))
    wrong = [check.name for check in checks if not check.ok]
    if wrong:
        raise typer.Exit(exit_codes.UNAVAILABLE if set(wrong) & set(UNREACHABLE) else exit_codes.USAGE)


def _line(check: Check) -> str:
    word = "ok   " if check.ok else "WRONG" if check.fatal else "note "
    return f"{word} {check.name}" + (f": {check.problem}" if check.problem else "")


def _as_json(check: Check) -> dict[str, Any]:
    return {"check": check.name, "ok": check.ok, "fatal": check.fatal, "problem": check.problem}
