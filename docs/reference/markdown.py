"""Markdown's pieces, and what the source says beside a field."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable

NOTE = "<!-- Written by `python -m docs.reference` (`make docs`) from {source}: change it there. -->\n"


def head(title: str, source: str) -> str:
    """The first lines of a generated page."""
    return f"{NOTE.format(source=source)}\n# {title}\n"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; `|` and line breaks in a cell are kept from ending it."""
    names = list(columns)
    lines = [names, ["---"] * len(names), *([cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """`text`, as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def linked(text: str) -> str:
    """With `docs/servers.md` as a link to that page."""
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)


def docstring(thing: object) -> str:
    """The docstring, each paragraph on lines of its own."""
    return inspect.getdoc(thing) or ""


def described(model: type) -> dict[str, str]:
    """The text that stands below each field of a class in its source: `{"shard_size": "Images in a shard…"}`."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class is one
    found = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
