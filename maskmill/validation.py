"""What pydantic found wrong, in the words of who typed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

WORDS = {
    "Value error, ": "",
    "Input should": "should",
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid integer, got a number with a fractional part": "a whole number",
    "a valid integer": "a whole number",
    "a valid number, unable to parse string as a number": "a number",
    "a valid number": "a number",
    "a valid boolean, unable to interpret input": "true or false",
    "a valid boolean": "true or false",
    "greater than or equal to ": "at least ",
    "less than or equal to ": "at most ",
    "Path does not point to a file": "should be the path of a file that is there",
}
"""Pydantic's words, and those of a person who reads `--batch-size many`; longer ones first."""


def wrong_field(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong ('' for several together) and what it should be; values are not shown.

    Of a field that may be one of several types, what each of them asks for:
    `("batch_size", "should be a whole number, or should be 'auto'")`.
    """
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    field = errors[0]["loc"][:1]
    said = dict.fromkeys(_said(each) for each in errors if each["loc"][:1] == field)
    return "".join(map(str, field)), ", or ".join(said)


def plain(message: str) -> str:
    """What pydantic says in our words: `Input should be greater than or equal to 1` is `should be at least 1`."""
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
    return message


def _said(error: Any) -> str:
    return f"there is no {error['loc'][-1]!r}" if error["type"] == "extra_forbidden" else plain(error["msg"])
