"""Batches of equal shape from a stream of mixed ones, holding back no more than a bounded number. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def by_shape(
    items: Iterable[Item], shape_of: Callable[[Item], Hashable | None], batch_size: int, look_ahead: int
) -> Iterator[list[Item]]:
    """Group items of equal shape into batches of up to `batch_size`.

    A batch leaves when it is full, when `look_ahead` items are held back (the fullest one leaves, the oldest of
    equals), or at the end. Shape None stands for itself alone.
    """
    waiting: dict[Hashable, list[Item]] = {}
    for item in items:
        shape = shape_of(item)
        if shape is None:
            yield [item]
            continue
        batch = waiting.setdefault(shape, [])
        batch.append(item)
        if len(batch) == batch_size:
            yield waiting.pop(shape)
        elif sum(map(len, waiting.values())) >= look_ahead:
            yield waiting.pop(max(waiting, key=lambda each: len(waiting[each])))
    yield from waiting.values()
