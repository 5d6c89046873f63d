"""What was tried of a server or of this machine, and what came of it: a line each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was tried. `problem` says what is wrong and what to do; it is empty when all is well.

    What is not `fatal` works for now, and may cost something later.

    >>> Check("store: list", "the store lists nothing: give its user s3:ListBucket").ok
    False
    """

    name: str
    problem: str = ""
    fatal: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def require(checks: list[Check], refusal: type[Exception]) -> list[Check]:
    """The checks themselves; raises the refusal with the first problem that nothing works without."""
    if wrong := first_fatal(checks):
        raise refusal(wrong.problem)
    return checks


def first_fatal(checks: Iterable[Check]) -> Check | None:
    """The first check that nothing works without."""
    return next((check for check in checks if check.fatal and not check.ok), None)
