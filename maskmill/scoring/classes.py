"""Which class of the truth a label of the job is: the one of its name, whatever its case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from maskmill.errors import UsageError
from maskmill.scoring.sides import ScoredClass

SHOWN = 8
"""Names in a message."""


@dataclass(frozen=True)
class ClassTable:
    """The classes that are scored, by number."""

    classes: Sequence[ScoredClass]

    @cached_property
    def _exact(self) -> dict[str, int]:
        return {each.name: number for number, each in enumerate(self.classes)}

    @cached_property
    def _folded(self) -> dict[str, int]:
        """Names in small letters, of those that are one class's alone."""
        names = [each.name.casefold() for each in self.classes]
        often = Counter(names)
        return {name: number for number, name in enumerate(names) if often[name] == 1}

    def number(self, label: str) -> int | None:
        """`Cat` is `cat`, unless the truth has both; None for a label that is no class of the truth."""
        found = self._exact.get(label)
        return self._folded.get(label.casefold()) if found is None else found

    def numbers(self, *, things: bool) -> list[int]:
        """Of all things, or of all stuff."""
        return [number for number, each in enumerate(self.classes) if each.thing is things]

    def chosen(self, labels: Sequence[str]) -> set[int]:
        """The classes that these labels are; all, if no label is named."""
        if not labels:
            return set(range(len(self.classes)))
        return {number for label in labels if (number := self.number(label)) is not None}

    def without_label(self, labels: Iterable[str]) -> list[str]:
        """The classes that no label is."""
        named = {self.number(label) for label in labels}
        return [each.name for number, each in enumerate(self.classes) if number not in named]

    def check(self, labels: Sequence[str]) -> None:
        """Raise `UsageError` if no label is a class."""
        if labels and all(self.number(label) is None for label in labels):
            raise UsageError(
                f"job and truth have no class in common: the job has {_some(labels)}, the truth "
                f"{_some([each.name for each in self.classes])}; --map-labels FILE says which is which"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:SHOWN]) + (", …" if len(names) > SHOWN else "")
