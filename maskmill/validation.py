"""What pydantic found wrong, in the words of who typed it."""

from __future__ import annotations

from pydantic import ValidationError


def wrong_field(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong ('' for several together) and what it should be; values are not shown.

    Of a field that may be one of several types, what each of them asks for:
    `("batch_size", "should be a valid integer, …, or should be 'auto'")`.
    """
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    field = errors[0]["loc"][:1]
    said = dict.fromkeys(_plain(each["msg"]) for each in errors if each["loc"][:1] == field)
    return "".join(map(str, field)), ", or ".join(said)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "should be")
