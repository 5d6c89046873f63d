"""docs/sources.md says what there is, and its tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmill.images import kinds
from maskmill.images.columns import COLUMNS, LOOKED_AT
from maskmill.images.entries import Reason
from maskmill.images.lists import MAX_CELL
from maskmill.jobs.submit import MAX_LIST_BYTES
from maskmill_producer.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sources.md").read_text()


def test_each_test_that_the_page_names_exists() -> None:
    named = re.findall(r"\btest_\w+\.py", PAGE)
    assert len(named) > 10
    assert not [name for name in named if not list((ROOT / "tests").rglob(name))]


def test_the_page_explains_each_reason_and_each_kind_of_list() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [reason.value for reason in Reason]
    table = PAGE.partition("## Lists")[2].partition("\n- ")[0]
    rows = "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))
    assert set(re.findall(r"\.\w+", rows)) == kinds.LIST_EXTENSIONS


def test_the_page_names_the_limits_that_hold() -> None:
    assert f"{MAX_CELL:,} characters" in PAGE
    assert f"{MAX_LIST_BYTES // 2**20} MiB" in PAGE
    assert ", ".join(COLUMNS) in PAGE
    assert LOOKED_AT == 100


@pytest.mark.parametrize("command", ["run", "submit"])
def test_help_says_what_a_hash_means_and_what_is_left_out(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    for words in ("starts with #", "./#1.jpg", "--strict", "--all-files", "--root", "--anonymous"):
        assert words in shown
