"""Batches of equal shape from a stream of mixed ones, holding each item back for a bounded time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Groups items of equal shape into batches of up to `batch_size(item)`.

    A batch leaves when it is full, or when its first item has seen `look_ahead` items come, itself included; so no
    more than `look_ahead` items are ever held back. Shape None stands for itself alone.

    >>> batches = Batches(shape_of=str.lower, batch_size=lambda item: 2, look_ahead=3)
    >>> [batches.add(item) for item in "abAc"], batches.rest()
    ([[], [], [['a', 'A']], [['b']]], [['c']])
    """

    def __init__(
        self, shape_of: Callable[[Item], Hashable | None], batch_size: Callable[[Item], int], look_ahead: int
    ) -> None:
        self._shape_of = shape_of
        self._batch_size = batch_size
        self._look_ahead = look_ahead
        self._added = 0
        self._waiting: dict[Hashable, tuple[int, list[Item]]] = {}  # in the order of their first items

    def add(self, item: Item) -> list[list[Item]]:
        """The batches that are to run now: the item's own, and one whose first item has waited long enough."""
        self._added += 1
        ready = []
        shape = self._shape_of(item)
        if shape is None:
            ready.append([item])
        else:
            _, batch = self._waiting.setdefault(shape, (self._added, []))
            batch.append(item)
            if len(batch) >= self._batch_size(item):
                ready.append(self._waiting.pop(shape)[1])
        return ready + self._overdue()

    def rest(self) -> list[list[Item]]:
        """The batches that are left, in the order of their first items, when no more items come."""
        batches = [batch for _, batch in self._waiting.values()]
        self._waiting.clear()
        return batches

    def _overdue(self) -> list[list[Item]]:
        for shape, (first, _) in self._waiting.items():
            if self._added - first >= self._look_ahead - 1:
                return [self._waiting.pop(shape)[1]]
            break
        return []
