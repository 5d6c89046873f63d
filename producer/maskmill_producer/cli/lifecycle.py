"""How a job's life ends: `maskmill delete|prune`."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from maskmill.words import counted
from maskmill_producer.cli import display, options
from maskmill_producer.cli.exits import failing_plainly
from maskmill_producer.cli.jobs import client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskmill.jobs.lifecycle import Deleted, Pruned

commands = typer.Typer()

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_commands(app: typer.Typer) -> None:
    """Make these commands of the `maskmill` command itself."""
    app.registered_commands += commands.registered_commands


def age(text: str) -> timedelta:
    """`30d`, `12h`, `45m` or `2w` as a time span; raises `BadParameter` for anything else."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text, re.ASCII)
    if not found:
        raise typer.BadParameter("write a number and m, h, d or w: 45m, 12h, 30d, 2w")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


Masks = Annotated[
    bool,
    typer.Option("--masks", help="Its masks too, but for those that another job of the same prefix accounts for."),
]


@commands.command(epilog="**Example**: `maskmill delete 20261122-205301-9f86d081 --masks`")
def delete(job: options.JobId, masks: Masks = False, out: options.Out = None, json: options.Json = False) -> None:
    """Remove a job that has ended: its records from the bucket and its counters from the broker.

    A job that runs is refused: cancel it first. Interrupted, the same command goes on where it stopped.
    """
    with failing_plainly(json):
        deleted = client().delete(job, out, masks=masks)
        if json:
            display.print_json(asdict(deleted))
        else:
            display.say(f"deleted job {job}: {_amounts([deleted])}")


@commands.command(epilog="**Example**: `maskmill prune --older-than 30d --masks --dry-run`")
def prune(
    older_than: Annotated[
        timedelta, typer.Option(parser=age, metavar="AGE", help="Jobs that ended so long ago: 45m, 12h, 30d, 2w.")
    ],
    masks: Masks = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    out: options.Out = None,
    json: options.Json = False,
) -> None:
    """Delete the old jobs of an output prefix, and what broken-off submissions and deletions left there.

    A submission counts as broken off when it has no record of its job and has written nothing for a day.
    """
    with failing_plainly(json):
        pruned = client().prune(older_than, out, masks=masks, dry_run=dry_run)
        display.print_json(asdict(pruned) | {"dry_run": dry_run}) if json else _print(pruned, dry_run)


def _print(pruned: Pruned, dry_run: bool) -> None:
    for deleted in pruned.jobs:
        display.say(f"job {deleted.job}: {_amounts([deleted])}")
    for deleted in pruned.remains:
        display.say(f"remains of {deleted.job}: {_amounts([deleted])}")
    everything = (*pruned.jobs, *pruned.remains)
    jobs, others = counted(len(pruned.jobs), "job"), counted(len(pruned.remains), "other")
    said = f"{jobs} and the remains of {others}: {_amounts(everything)}"
    display.say("nothing to delete" if not everything else f"would delete {said}" if dry_run else f"deleted {said}")


def _amounts(deleted: Sequence[Deleted]) -> str:
    size = display.size(sum(each.bytes for each in deleted))
    return display.by_number(
        [
            (sum(each.records for each in deleted), f"record ({size})", f"records ({size})"),
            (sum(each.masks for each in deleted), "mask", "masks"),
            (sum(each.masks_kept for each in deleted), "mask stays for other jobs", "masks stay for other jobs"),
        ]
    )
