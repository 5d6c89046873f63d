r"""Text on pictures is drawn as it is, or said in escapes: never in boxes, and never as something else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from maskmill_producer.report import lettering
from maskmill_producer.report.lettering import Lettering, one_line, shortened

PRIVATE, UNASSIGNED = "\ue0ff", "\u0378"


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without fonts of its own."""
    monkeypatch.setattr(lettering, "COMMON", ())
    monkeypatch.setattr(lettering, "_by_fontconfig", lambda letters: ())


def test_plain_text_is_drawn_as_it_is() -> None:
    text = Lettering.of("traffic light 0.98", 14)
    assert text.text == "traffic light 0.98"
    picture = Image.new("L", (text.width + 4, text.height + 4), 255)
    ImageDraw.Draw(picture).text((0, 0), text.text, 0, text.font)
    ink = np.nonzero(np.asarray(picture) < 128)
    assert ink[0].max() < text.height
    assert ink[1].max() < text.width


def test_letters_of_a_font_of_the_system_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = next((name for name in lettering.COMMON if lettering._named(name, 14)), None)
    if found is None:
        pytest.skip("this machine has none of the common fonts")
    assert Lettering.of("собака", 14).text == "собака"


@pytest.mark.usefixtures("no_fonts")
def test_letters_that_no_font_has_are_escaped_and_the_others_stay() -> None:
    assert Lettering.of("猫 · cat", 14).text == r"\u732b · cat"
    assert Lettering.of("собака", 14).text == "".join(rf"\u{ord(each):04x}" for each in "собака")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("cat\u202egpj.exe", r"cat\u202egpj.exe"),
        (f"a{PRIVATE}b{UNASSIGNED}c\ud800", r"a\ue0ffb\u0378c\ud800"),
        ("a\u2028b\x00", r"a\u2028b\x00"),
        ("[bold]dog[/bold]", "[bold]dog[/bold]"),
    ],
)
def test_what_moves_or_hides_text_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == Lettering.of(text, 12).text == shown


def test_letters_that_join_are_escaped_where_nothing_can_join_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    assert Lettering.of("قطة", 12).text == r"\u0642\u0637\u0629"
    assert Lettering.of("cat é", 12).text.startswith("cat ")
    assert not lettering._can_be_laid_out("ع")
    assert lettering._can_be_laid_out("я")


def test_a_long_label_is_cut_and_a_long_path_keeps_its_ends() -> None:
    assert len(Lettering.of("x" * 10_000, 12).text) == 40
    cut = shortened("photos/2026/11/a-very-long-folder-name/and/another/one/cat.jpg", 30)
    assert (len(cut), cut.startswith("photos/"), cut.endswith("cat.jpg")) == (30, True, True)


def test_a_fontconfig_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lettering._by_fontconfig.cache_clear()
    assert lettering._by_fontconfig("猫") == ()
    lettering._by_fontconfig.cache_clear()
