"""docs/security.md names settings and tests that there are, and no line of a section is without its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmill.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
HELD = ("The door to the web", "What stands in a bucket", "TLS", "Secrets")


def test_every_setting_of_the_page_is_one() -> None:
    named = set(re.findall(r"MASKMILL_([A-Z_0-9]+)", PAGE))
    assert {name for name in named if name.lower() not in Settings.model_fields} == set()


def test_every_test_of_the_page_is_there() -> None:
    paths = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("section", HELD)
def test_every_statement_of_a_section_names_its_test(section: str) -> None:
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    statements = re.split(r"\n- ", text) if "\n- " in text else [text]
    assert [each for each in statements if each.strip() and "`tests/" not in each] == []
