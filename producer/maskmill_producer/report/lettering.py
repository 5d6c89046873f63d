r"""Text on pictures: in any script that this machine has a font for, and never as boxes.

What no font draws is written in ASCII: `猫` as `\u732b`. Fonts are Pillow's own, then the system's: asked of fontconfig
where there is one, else by names that are common.
"""

from __future__ import annotations

import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from maskmill.colours import Colour

Font = ImageFont.FreeTypeFont

COMMON = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf",
    "msyh.ttc", "malgun.ttf", "YuGothM.ttc", "seguisym.ttf", "Nirmala.ttf")  # fmt: skip
"""Looked for by Pillow in the folders where Windows, macOS and Linux have fonts."""

ABSENT = "\U0010ffff"
"""A noncharacter: what a font draws for it, it draws for all that it lacks."""

PLAIN_UP_TO = "\u02ff"
"""Latin letters stand one by one; beyond, letters may be joined or run from right to left, which needs Raqm."""

UNJOINED = ("LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "ARMENIAN", "GEORGIAN")
SECONDS = 5


@dataclass(frozen=True)
class Lettering:
    """A text as it can be drawn at some size: perhaps in escapes."""

    text: str
    font: Font

    @classmethod
    def of(cls, text: str, size: int, longest: int = 40) -> Lettering:
        """The text on one line, of so many characters at most, in a font that has them all."""
        plain = one_line(text)
        cut = plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
        font = min(_fonts_for(cut, size), key=lambda each: len(_lacking(each, cut)))
        lacking = _lacking(font, cut)
        return cls("".join(_escaped(each) if each in lacking else each for each in cut), font)

    @property
    def width(self) -> int:
        """In pixels."""
        return round(self.font.getlength(self.text) + 0.5)

    @property
    def height(self) -> int:
        """In pixels, with what hangs below the line."""
        ascent, descent = self.font.getmetrics()
        return ascent + descent

    def draw(self, draw: ImageDraw.ImageDraw, place: tuple[float, float], ink: Colour) -> None:
        """Write it, with its upper left corner there."""
        draw.text(place, self.text, ink, self.font)


def one_line(text: str) -> str:
    r"""Without what moves or hides other text: control and formatting characters are escaped, as `\n` or `\u202e`."""
    odd = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return "".join(_escaped(each) if unicodedata.category(each) in odd else each for each in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def shortened(path: str, longest: int) -> str:
    """A path with its middle left out: `photos/2026/…/cat.jpg`."""
    ends = (longest - 1) * 2 // 5
    return path if len(path) <= longest else f"{path[:ends]}…{path[-(longest - 1 - ends) :]}"


def _fonts_for(text: str, size: int) -> Iterator[Font]:
    """Pillow's own font, and unless that has all letters those of the system that may."""
    own = _own(size)
    yield own
    if odd := _lacking(own, text):
        for name in chain(COMMON[:2], _by_fontconfig("".join(sorted(odd))), COMMON[2:]):
            if font := _named(name, size):
                yield font
                if not _lacking(font, text):
                    return


def _lacking(font: Font, text: str) -> set[str]:
    """The letters of a text that the font has not, or that cannot be put side by side here."""
    return {each for each in text if not (each.isspace() or (_can_be_laid_out(each) and _has(font, each)))}


def _can_be_laid_out(letter: str) -> bool:
    """Whether a letter can be put beside others as it is, or Raqm, with FriBiDi, knows how they join."""
    if letter <= PLAIN_UP_TO or unicodedata.category(letter)[0] not in "LM":
        return True
    joins = unicodedata.name(letter, "").split(" ")[0] not in UNJOINED
    return not joins or bool(features.check("raqm") and features.check("fribidi"))


@lru_cache(maxsize=4096)
def _has(font: Font, letter: str) -> bool:
    shown, absent = (_glyph(font).getmask(each) for each in (letter, ABSENT))
    return (shown.size, bytes(shown)) != (absent.size, bytes(absent))


@lru_cache(maxsize=64)
def _glyph(font: Font) -> Font:
    """The same font one letter at a time, since Raqm puts a dotted circle under what stands alone."""
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=16)
def _own(size: int) -> Font:
    font = ImageFont.load_default(size)
    if not isinstance(font, Font):  # without FreeType there is a bitmap font alone
        raise OSError("this Pillow was built without FreeType: install its wheel from PyPI")
    return font


@lru_cache(maxsize=256)
def _named(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _by_fontconfig(letters: str) -> tuple[str, ...]:
    """Files of fonts that have all of these letters, those without serifs first."""
    wanted = " ".join(f"{ord(each):x}" for each in letters)
    command = ["fc-list", f":charset={wanted}:scalable=true", "--format=%{file}\n"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    files = [line for line in found.stdout.splitlines() if Path(line).suffix.lower() in (".ttf", ".otf", ".ttc")]
    return tuple(sorted(files, key=lambda file: ("Sans" not in file, "Regular" not in file, file))[:4])
