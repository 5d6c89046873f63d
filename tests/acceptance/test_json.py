"""What `--json` prints is what docs/records.md says of each command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from docs.reference.records import PRINTED
from maskmill import Client
from maskmill_producer.cli.main import app
from tests.acceptance.images import write_good
from tests.integration.finished_jobs import finished_job

Ask = Callable[..., list[Any]]


@pytest.fixture
def ask(environment: dict[str, str]) -> Ask:
    """The objects that a command prints, a line each."""

    def ask(*arguments: object) -> list[Any]:
        result = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=environment)
        assert result.exit_code in (0, 4), result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return ask


def compare(printed: dict[str, list[Any]]) -> None:
    """Hold what commands printed against the page."""
    for command, objects in printed.items():
        assert objects, command
        for each in objects:
            named = PRINTED[command].names
            # Records leave out what is unset; a status has all of its fields.
            assert each.keys() <= named if command == "results" else each.keys() == named, command


def test_commands_of_a_job_print_the_fields_of_the_page(client: Client, ask: Ask, tmp_path: Path) -> None:
    job = finished_job(client, ["a", "b"], failed=["b"]).id
    truth = tmp_path / "truth" / "annotations" / "panoptic_default.json"
    write_good(tmp_path / "pictures", 1)
    compare(
        {
            "submit": ask("submit", tmp_path / "pictures", "--model", "demo"),
            "status JOB": ask("status", job),
            "status": ask("status")[0],
            "watch": ask("watch", job),
            "results": ask("results", job),
            "results --download": ask("results", job, "--download", tmp_path / "out"),
            "failures": ask("failures", job),
            "export": ask("export", job, "--format", "coco-panoptic", "--out", tmp_path / "truth"),
            "score": ask("score", job, "--truth", truth),
            "compare": ask("compare", job, job),
            "report": ask("report", job, "--out", tmp_path / "report"),
            "resume": ask("resume", job),
            "retry": ask("retry", job),
            "cancel": ask("cancel", job),
            "delete": ask("delete", job),
            "prune": ask("prune", "--older-than", "1d", "--dry-run"),
            "doctor": ask("doctor"),
        }
    )


def test_commands_of_the_servers_print_the_fields_of_the_page(
    ask: Ask, tmp_path: Path, environment: dict[str, str]
) -> None:
    environment["MASKMILL_STATE_DIR"] = str(tmp_path / "servers")
    compare(
        {
            "servers start": ask("servers", "start"),
            "servers status": ask("servers", "status"),
            "servers stop": ask("servers", "stop"),
            "servers purge": ask("servers", "purge", "--yes"),
        }
    )


def test_the_page_leaves_no_command_out() -> None:
    commands = set(_with_json(typer.main.get_command(app), ""))
    assert {name.removesuffix(" JOB").partition(" --")[0] for name in PRINTED} == commands - {"servers env"}


def _with_json(command: Any, name: str) -> Iterator[str]:
    if any(each.name == "json" for each in command.params):
        yield name
    for each in getattr(command, "commands", {}).values():
        yield from _with_json(each, f"{name} {each.name}".strip())
