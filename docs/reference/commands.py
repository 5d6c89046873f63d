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
`--help`, or `-h`. With `--json` each line of standard output is JSON, and an error is one line of JSON on standard
error: `{"error": CODE, "reason": TEXT}` ([errors](errors.md)).
"""


def page() -> str:
    """The whole page."""
    programs = {
        name: typer.main.get_command(program) for name, program in (("maskmill", app), ("maskmill-worker", cli))
    }
    found = [each for name, program in programs.items() for each in _commands(program, name)]
    parts = [head("Commands", "the commands' own help"), INTRODUCTION, table(("command", ""), map(_summary, found))]
    for name, command in found:
        parts += _command(command, name, level=2 if name in programs else 3)
    return "\n".join(parts)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The command and those below it, each with its whole name."""
    yield name, command
    for each in getattr(command, "commands", {}).values():
        yield from _commands(each, f"{name} {each.name}")


def _summary(found: tuple[str, Any]) -> tuple[str, str]:
    """Its name as a link, and the first sentences of its help."""
    name, command = found
    return f"[`{name}`](#{name.replace(' ', '-')})", _markdown(command.help).partition("\n\n")[0]


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
