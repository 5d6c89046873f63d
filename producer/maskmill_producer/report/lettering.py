r"""Text on pictures: in any script that this machine has a font for, and never as boxes.

What no font draws is written in ASCII: `猫` as `\u732b`. Fonts are Pillow's own, then the system's: asked of fontconfig
where there is one, else by names that are common.
"""

from __future__ import annotations

import subprocess
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from maskmill_producer.report.colours import Colour

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
        if font := _font_for(cut, size):
            return cls(cut, font)
        escaped = cut.encode("ascii", "backslashreplace").decode()
        return cls(escaped if len(escaped) <= longest else f"{escaped[: longest - 3]}...", _own(size))

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
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in odd else each for each in text
    )


def shortened(path: str, longest: int) -> str:
    """A path with its middle left out: `photos/2026/…/cat.jpg`."""
    ends = (longest - 1) * 2 // 5
    return path if len(path) <= longest else f"{path[:ends]}…{path[-(longest - 1 - ends) :]}"


def _font_for(text: str, size: int) -> Font | None:
    if not _can_be_laid_out(text):
        return None
    if _draws(_own(size), text):
        return _own(size)
    odd = "".join(sorted({each for each in text if each > PLAIN_UP_TO}))
    for name in chain(COMMON[:2], _by_fontconfig(odd), COMMON[2:]):
        if (font := _named(name, size)) and _draws(font, text):
            return font
    return None


def _can_be_laid_out(text: str) -> bool:
    """Whether letters can be put side by side as they are, or Raqm, with FriBiDi, knows how they join."""
    if features.check("raqm") and features.check("fribidi"):
        return True
    odd = (each for each in text if each > PLAIN_UP_TO and unicodedata.category(each)[0] in "LM")
    return all(unicodedata.name(each, "").split(" ")[0] in UNJOINED for each in odd)


def _draws(font: Font, text: str) -> bool:
    return all(_has(font, each) for each in set(text) if not each.isspace())


@lru_cache(maxsize=4096)
def _has(font: Font, letter: str) -> bool:
    shown, absent = font.getmask(letter), font.getmask(ABSENT)
    return (shown.size, bytes(shown)) != (absent.size, bytes(absent))


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
