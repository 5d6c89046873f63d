"""The sides of an image as they are scored: things one by one, stuff of one class as one segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

import numpy as np

from maskmill.scoring.overlaps import Ids, Part, Side


class ScoredClass(NamedTuple):
    """A class by its name, and whether it is a thing: counted one by one."""

    name: str
    thing: bool


def side(
    ids: Ids, segments: Iterable[tuple[int, Part]], classes: Sequence[ScoredClass], void: Set[int] | None = None
) -> Side:
    """Of segments by their ids. Stuff of one class is one part: a sky in two segments would score 0.397 instead of 1.

    The transformers pipeline fuses no label (huggingface/transformers#15954).
    """
    place: dict[int, int] = {}
    parts: list[Part] = []
    stuff: dict[Part, int] = {}
    for each, part in segments:
        if classes[part.category].thing or part.crowd:
            place[each] = len(parts)
            parts.append(part)
        else:
            if part not in stuff:
                stuff[part] = len(parts)
                parts.append(part)
            place[each] = stuff[part]
    return Side(ids, place, parts, void)


def values(ids: Ids) -> list[int]:
    """The ids that occur, in order; by runs, which are few."""
    flat = ids.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)[: flat.size]
    found: list[int] = np.unique(flat[starts]).tolist()
    return found
