"""What somebody may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.8
"""`MASKMILL_` alone makes two names of settings 0.6 alike."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to end an error's line with, or nothing if no known word is near.

    >>> did_you_mean("timeuot", ["timeout", "not_found"])
    "; did you mean 'timeout'?"
    """
    near = get_close_matches(word, sorted(map(str, known)), n=1, cutoff=ALIKE)
    return f"; did you mean {near[0]!r}?" if near else ""
