"""The two sides of one image, the true and the predicted one, and how many pixels their segments share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskmill.errors import TruthUnusable

Ids: TypeAlias = NDArray[np.integer[Any]]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

LOW_BITS = 2**16 - 1
"""Ids are looked up in a table by their low bits, as long as these tell them apart; else searched for."""

DENSE_CELLS = 2**20
"""Up to so many pairs of segments are counted in a table of all; of more, those that occur are sorted."""


class Part(NamedTuple):
    """A segment of one side: the number of its class, and whether it is a crowd, of which nobody counts the members."""

    category: int
    crowd: bool = False


@dataclass(frozen=True)
class Side:
    """An H × W map of ids, and the place among `parts` of each id that counts; several ids may be one part.

    Pixels of other ids are of no class. Where `void` is said they must be of it, and are not scored.
    """

    ids: Ids
    place: Mapping[int, int]
    parts: Sequence[Part]
    void: Set[int] | None = None

    @classmethod
    def of(cls, ids: Ids, parts: Mapping[int, Part], void: Set[int] | None = None) -> Side:
        """With a part for each id: `Side.of(np.array([[0, 7]]), {7: Part(category=2)})`."""
        return cls(ids, {each: place for place, each in enumerate(parts)}, tuple(parts.values()), void)


@dataclass(frozen=True)
class Masks:
    """A side whose segments may overlap, as in COCO's instances; pixels of none are of no class."""

    shape: tuple[int, int]
    masks: Iterable[Mask]
    parts: Sequence[Part]


@dataclass(frozen=True)
class Overlaps:
    """Pixels that true and predicted segments share: `pixels[n]` of `true[n]` and `predicted[n]`, places from 0.

    Place -1 is no segment. `void[place]` pixels of a predicted segment are not scored.
    """

    true: Ints
    predicted: Ints
    pixels: Ints
    true_areas: Ints
    predicted_areas: Ints
    void: Ints


def overlaps(truth: Side, predicted: Side) -> Overlaps:
    """Those of two maps of one shape, counted by runs of equal pixels, of which segment maps have few.

    Raises `TruthUnusable` for a true id that is neither a part's nor void.
    """
    true_ids, predicted_ids, lengths = _runs(truth.ids, predicted.ids)
    rows, columns = _places(true_ids, truth.place), _places(predicted_ids, predicted.place)
    _check(true_ids[rows < 0], truth.void)
    width = len(predicted.parts) + 1
    codes, pixels = _summed((rows + 1) * width + columns + 1, lengths, (len(truth.parts) + 1) * width)
    true, found = codes // width - 1, codes % width - 1
    in_void = (true < 0) & (truth.void is not None)
    return Overlaps(
        true,
        found,
        pixels,
        _by_place(true, pixels, len(truth.parts)),
        _by_place(found, pixels, len(predicted.parts)),
        _by_place(found[in_void], pixels[in_void], len(predicted.parts)),
    )


def overlaps_of_masks(truth: Masks, predicted: Side) -> tuple[Overlaps, Side]:
    """Those of masks, and the masks as a map: where they overlap, the smaller one is on top."""
    places = _places(predicted.ids.ravel(), predicted.place).reshape(truth.shape)
    count = len(predicted.parts)
    areas = np.zeros(len(truth.parts) + 1, np.int64)
    areas[0] = places.size + 1
    map_ = np.zeros(truth.shape, np.int64)
    shared = []
    for number, mask in enumerate(truth.masks, 1):
        covered = map_[mask]
        areas[number] = len(covered)
        map_[mask] = np.where(areas[covered] > len(covered), number, covered)
        shared.append(np.bincount(places[mask] + 1, minlength=count + 1))
    table = np.array(shared, np.int64).reshape(len(shared), count + 1)
    true, column = np.nonzero(table)
    found = Overlaps(
        true,
        column - 1,
        table[true, column],
        areas[1:],
        np.bincount(places.ravel() + 1, minlength=count + 1)[1:],
        np.zeros(count, np.int64),
    )
    return found, Side(map_, {number + 1: number for number in range(len(truth.parts))}, truth.parts)


def _runs(one: Ids, other: Ids) -> tuple[Ids, Ids, Ints]:
    """Runs of pixels that are equal in both maps: the two ids, and how many pixels have them."""
    first, second = one.ravel(), other.ravel()
    changes = first[1:] != first[:-1]
    changes |= second[1:] != second[:-1]
    cuts = np.flatnonzero(changes) + 1
    starts = np.append(0, cuts)[: first.size]
    return first[starts], second[starts], np.diff(starts, append=first.size)


def _places(ids: Ids, place: Mapping[int, int]) -> Ints:
    """The place of each id, -1 for one that has none."""
    known, places = np.array([*place], np.int64), np.array([*place.values()], np.int64)
    low = known & LOW_BITS
    if len(place) > LOW_BITS or len(set(low.tolist())) < len(known):
        return _searched(ids, known, places)
    columns = ids.astype(np.uint16, copy=False)
    # Zero is no place: tables that are zero at first, and small, cost next to nothing.
    found = _table(low, places + 1, np.uint16).take(columns).astype(np.int64) - 1
    if ids.itemsize > columns.itemsize or (known > LOW_BITS).any():
        found[_table(low, known, np.int64).take(columns) != ids] = -1
    return found


def _table(low: Ints, values: Ints, kind: DTypeLike) -> NDArray[Any]:
    table = np.zeros(LOW_BITS + 1, kind)
    table[low] = values
    return table


def _searched(ids: Ids, known: Ints, places: Ints) -> Ints:
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    nearest = order[at]
    return np.where(known[nearest] == ids, places[nearest], -1)


def _check(others: Ids, void: Set[int] | None) -> None:
    if void is not None and (unknown := set(np.unique(others).tolist()) - void):
        raise TruthUnusable(f"pixels of the truth have the number {min(unknown)}, which no segment and no class has")


def _summed(codes: Ints, weights: Ints, size: int) -> tuple[Ints, Ints]:
    """The codes that occur, below `size`, and the sum of the weights of each."""
    if size <= DENSE_CELLS:
        sums = np.bincount(codes, weights, size)
        occurring = np.flatnonzero(sums)
        return occurring, sums[occurring].astype(np.int64)
    occurring, inverse = np.unique(codes, return_inverse=True)
    return occurring, np.bincount(inverse, weights).astype(np.int64)


def _by_place(places: Ints, pixels: Ints, count: int) -> Ints:
    there = places >= 0
    return np.bincount(places[there], pixels[there], count).astype(np.int64)
