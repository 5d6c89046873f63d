"""Pages that the code is the source of are as the code has them."""

from __future__ import annotations

import pytest

from docs.reference.errors import _errors
from docs.reference.markdown import described
from docs.reference.pages import FOLDER, PAGES
from maskmill.errors import MaskmillError
from maskmill.settings import S3Settings, Settings


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_as_the_code_is_now(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "`make docs` writes it anew"


@pytest.mark.parametrize("settings", [Settings, S3Settings])
def test_every_setting_says_what_it_means(settings: type) -> None:
    assert settings.model_fields.keys() - described(settings).keys() == set()  # type: ignore[attr-defined]


def test_every_error_with_a_code_of_its_own_has_a_cure_of_its_own() -> None:
    without = [each for each in _errors() if each is not MaskmillError and "cure" not in vars(each)]
    assert without == []
