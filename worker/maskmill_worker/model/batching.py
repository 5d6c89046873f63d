"""Batches of equal shape from a stream of mixed ones, holding each item back for a bounded time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def by_shape(
    items: Iterable[Item],
    shape_of: Callable[[Item], Hashable | None],
    batch_size: Callable[[Item], int],
    look_ahead: int,
) -> Iterator[list[Item]]:
    """Group items of equal shape into batches of up to `batch_size(item)`.

    A batch leaves when it is full, when its first item has seen `look_ahead` later ones come, or at the end; so no
    more than `look_ahead` items are ever held back. Shape None stands for itself alone.
    """
    waiting: dict[Hashable, tuple[int, list[Item]]] = {}  # in the order of their first items
    for number, item in enumerate(items):
        shape = shape_of(item)
        if shape is None:
            yield [item]
        else:
            _, batch = waiting.setdefault(shape, (number, []))
            batch.append(item)
            if len(batch) >= batch_size(item):
                yield waiting.pop(shape)[1]
        oldest = next(iter(waiting), None)
        if waiting and number - waiting[oldest][0] >= look_ahead - 1:
            yield waiting.pop(oldest)[1]
    for _, batch in waiting.values():
        yield batch
