"""What both commands say to terminal, pipe or mail: nothing cut, our own signs in ASCII for C, an error on a line."""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from maskmill.suggest import did_you_mean
from maskmill.validation import plain

if TYPE_CHECKING:
    from rich.console import Console

ASCII = {"…": "...", "–": "-", "×": "x", "·": "-", "→": "->", "━": "-", "╸": "-", "╺": "-"}
"""What stands for our own signs; every other character is written as Python escapes it."""


CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""What a terminal would obey, or takes for the end of a column or a line."""


WIDE_COLUMNS = 110
"""Narrower, the boxes of typer's help cut the names of options."""

WHOLE = 1000
"""Characters: more than any first sentence has."""


class Commands(TyperGroup):
    """A command with subcommands, to which wrong use is an error like any other; typer says it on four lines.

    `maskmill run photos --ot masks` gives `error: no such option: --ot; did you mean '--out'? (see: maskmill run -h)`,
    and with `--json` an object.
    """

    as_json = False

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **options: Any) -> Any:
        """Read the options that stand before a command."""
        self.as_json = "--json" in args
        with self._plainly():
            return super().make_context(info_name, args, *others, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the command and its options, and run it."""
        with self._plainly():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """List the commands as wide terminals have them: what each does in full, on as many lines as that takes."""
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # it is the help
                raise
            print_error("usage", _wrong_use(error), as_json=self.as_json)
            raise typer.Exit(error.exit_code) from None


class Program(typer.Typer):
    """A command that looks at its terminal before it runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Commands, **options)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the command."""
        fit_streams()
        if shutil.get_terminal_size().columns < WIDE_COLUMNS:
            self._write_help_plainly()
        return super().__call__(*arguments, **options)

    def _write_help_plainly(self) -> None:
        self.rich_markup_mode = None
        groups = [each.typer_instance for each in self.registered_groups if each.typer_instance]
        of_groups = [one for group in groups for one in group.registered_commands]
        infos: list[Any] = [self.info, self.registered_callback, *self.registered_commands, *of_groups]
        for each in filter(None, infos):
            each.epilog = each.epilog and each.epilog.replace("**", "")


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


def shown(text: object) -> str:
    r"""A foreign text on one line: `a\nb` with a line break is shown as `a\x0ab`."""
    return str(text).translate(CONTROLS)


def print_error(code: str, reason: str, *, as_json: bool, console: Console | None = None) -> None:
    """An error on standard error, on one line unless it brings a log."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
    if as_json:
        console.print(json.dumps({"error": code, "reason": reason}, ensure_ascii=False), soft_wrap=True)
    else:
        lines = "\n".join(map(shown, reason.splitlines()))
        console.print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


def _wrong_use(error: Any) -> str:
    """What typer found wrong, in our words, with a near name and the way to the help."""
    context, said = getattr(error, "ctx", None), plain(error.format_message())
    if hasattr(error, "possibilities"):
        names = [name for each in context.command.params for name in each.opts] if context else []
        said = f"no such option: {error.option_name}{did_you_mean(error.option_name, names)}"
    said = said.rstrip(".").replace(". Did you mean", "; did you mean")
    return f"{said[:1].lower()}{said[1:]}" + (f" (see: {context.command_path} -h)" if context else "")
