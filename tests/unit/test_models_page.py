"""docs/models.md names types, settings, options, codes and tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import transformers

from maskmill import errors
from maskmill.settings import Settings
from maskmill_producer.cli.options import PARAMETERS
from maskmill_worker.model.refusals import admitted

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_types_of_the_page_are_those_that_are_admitted() -> None:
    release, listed = re.search(r"of transformers (\d+\.\d+) the types\s(.*?)\.\n", PAGE, re.DOTALL).groups()  # type: ignore[union-attr]
    if transformers.__version__.startswith(f"{release}."):
        assert set(re.split(r",\s|\sand\s", listed)) == admitted().keys() - {"videomt"}
    assert "`videomt` is admitted and takes no images" in PAGE


def test_every_setting_and_option_of_the_page_is_one() -> None:
    named = set(re.findall(r"MASKMILL_([A-Z_]+)", PAGE))
    assert {name for name in named if name.lower() not in Settings.model_fields} == set()
    options = {option.replace("-", "_") for option in re.findall(r"`--([a-z-]+)", PAGE)}
    assert options - PARAMETERS.keys() == {"json"}


def test_every_code_of_the_page_is_one() -> None:
    codes = {getattr(each, "code", "") for each in vars(errors).values()}
    assert set(re.findall(r"`((?:model|hub)_[a-z]+)`", PAGE)) <= codes


def test_every_test_of_the_page_is_there_and_no_row_of_what_is_taken_lacks_one() -> None:
    assert [path for path in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", PAGE) if not (ROOT / path).exists()] == []
    taken = PAGE.partition("## What is taken\n")[2].partition("\n## ")[0]
    rows = [
        line for line in taken.splitlines() if line.startswith("| ") and "---" not in line and "| test |" not in line
    ]
    assert rows
    assert [row for row in rows if "tests/" not in row] == []
