"""`cli.md`: every command of `maskmill` and `maskmill-worker`, as their own help has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
import typer.main

from docs.reference.markdown import cell, code, head, table
from maskmill_producer.cli.main import app
from maskmill_worker.cli import cli

EVERYWHERE = "General"
KINDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER"}
INTRODUCTION = """\
`maskmill` submits, follows and fetches jobs, or runs one from end to end. `maskmill-worker` works on them. Each takes
`--help`. With `--json` each line of standard output is JSON, and an error is one line of JSON on standard error:
`{"error": CODE, "reason": TEXT}` ([errors](errors.md)).
"""


def page() -> str:
    """The whole page."""
    parts = [
        head("Commands", "the commands' own help"),
        INTRODUCTION,
    ]
    for name, program in (("maskmill", app), ("maskmill-worker", cli)):
        parts += _command(typer.main.get_command(program), name, level=2)
    return "\n".join(parts)


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"{'#' * level} {name}\n"
    yield f"{_markdown(command.help)}\n"
    yield f"```text\n{_usage(command, context)}\n```\n"
    for title, parameters in _panels(command):
        yield f"**{title}**\n"
        yield table(("", "what it is", "unless given"), (_row(each, context) for each in parameters))
    if command.epilog:
        yield f"{_markdown(command.epilog)}\n"
    for each in getattr(command, "commands", {}).values():
        yield from _command(each, f"{name} {each.name}", level=3)


def _usage(command: Any, context: typer.Context) -> str:
    """`maskmill run [OPTIONS] SOURCE…`, on one line."""
    return re.sub(r"\{(\w+…)\}\.\.\.", r"\1", " ".join(command.get_usage(context).removeprefix("Usage: ").split()))


def _panels(command: Any) -> Iterator[tuple[str, list[Any]]]:
    """Arguments and options, by the headings that they have in `--help`."""
    found: dict[str, list[Any]] = {}
    for each in command.params:
        if not getattr(each, "hidden", False):
            found.setdefault(getattr(each, "rich_help_panel", None) or EVERYWHERE, []).append(each)
    yield from found.items()


def _row(parameter: Any, context: typer.Context) -> tuple[str, str, str]:
    """`("--timeout <float range>", "Seconds for fetching one image.  [default: (30); x>=0.001]")` as three cells."""
    name, help_text = parameter.get_help_record(context)
    text, _, facts = help_text.partition("  [")
    default, _, bounds = facts.removesuffix("]").removeprefix("default: ").partition("; ")
    if not facts.startswith("default: "):
        default, bounds = "", facts.removesuffix("]")
    bounds = "" if bounds == "required" else bounds
    unless = "required" if facts == "required]" else default.removeprefix("(").removesuffix(")")
    return code(_plain(name)), f"{cell(text)}{f' ({bounds})' if bounds else ''}", unless


def _plain(name: str) -> str:
    """`--threshold <float range>` as `--threshold NUMBER`, `SOURCE… <list[str]>` as `SOURCE…`."""
    return re.sub(r" <(\w+)(?: range)?>| <list.*>", lambda kind: f" {KINDS[kind[1]]}" if kind[1] else "", name)


def _markdown(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", inspect.cleandoc(text)).strip()
