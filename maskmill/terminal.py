"""What the terminal, the pipe or the mail can show, for both commands: nothing cut, our own signs in ASCII for C."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import typer

ASCII = {"…": "...", "–": "-", "×": "x", "·": "-", "→": "->", "━": "-", "╸": "-", "╺": "-"}
"""What stands for our own signs; every other character is written as Python escapes it."""


WIDE_COLUMNS = 110
"""Narrower, the boxes of typer's help cut the names of options."""


class Program(typer.Typer):
    """A command that looks at its terminal before it runs."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the command."""
        fit_streams()
        if shutil.get_terminal_size().columns < WIDE_COLUMNS:
            self.rich_markup_mode = None
        return super().__call__(*arguments, **options)


def fit_streams() -> None:
    """Let no character end the command, and none of ours be unreadable. Results in a pipe stay as they are."""
    if language_is_c(os.environ):
        codecs.register_error("maskmill", _in_ascii)
        for stream in (sys.stderr, *([sys.stdout] if sys.stdout.isatty() else [])):
            _reconfigure(stream, encoding="ascii", errors="maskmill")
    if sys.stdout.errors == "strict":
        _reconfigure(sys.stdout, errors="backslashreplace")


def language_is_c(environment: Mapping[str, str]) -> bool:
    """Whether the language is C; Python itself then puts `LC_CTYPE=C.UTF-8` into its environment (PEP 538)."""
    named = [environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if not named[0] and named[1] == "C.UTF-8":
        named[1] = ""
    return next(filter(None, named), "C") in ("C", "POSIX")


def _reconfigure(stream: object, **options: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(**options)  # type: ignore[arg-type]  # its names are options of reconfigure


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - streams of output only
    wrong = error.object[error.start : error.end]
    return "".join(ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in wrong), error.end
