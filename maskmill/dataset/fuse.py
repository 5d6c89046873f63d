"""Stuff is one segment a category in panoptic formats: one sky in two segments would score 0.397 instead of 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from maskmill.dataset.classes import Category
from maskmill.masks.segment_map import SegmentMap, narrowest
from maskmill.schema import Segment

Box = tuple[int, int, int, int]


def fused(
    ids: SegmentMap, segments: Sequence[Segment], categories: Mapping[str, Category]
) -> tuple[SegmentMap, tuple[Segment, ...]]:
    """The map and segments with each stuff category in one segment.

    It has the smallest id of its parts, their areas' sum, their boxes' hull, and the best of their scores. The
    transformers pipeline fuses no label (huggingface/transformers#15954).
    """
    first: dict[str, Segment] = {}
    becomes: dict[int, int] = {}
    done: list[Segment] = []
    for segment in sorted(segments, key=lambda each: each.id):
        name = segment.title
        if categories[name].thing:
            done.append(segment)
        elif name in first:
            becomes[segment.id] = first[name].id
            first[name] = _joined(first[name], segment)
        else:
            first[name] = segment
    done += first.values()
    return _relabelled(ids, becomes), tuple(sorted(done, key=lambda each: each.id))


def _joined(one: Segment, other: Segment) -> Segment:
    scores = [each.score for each in (one, other) if each.score is not None]
    return replace(one, area=one.area + other.area, box=hull(one.box, other.box), score=max(scores) if scores else None)


def hull(one: Box, other: Box) -> Box:
    """The smallest box around both: `hull((0, 0, 2, 2), (4, 1, 1, 5))` is `(0, 0, 5, 6)`; an empty one has no say."""
    if not one[2] * one[3] or not other[2] * other[3]:
        return one if one[2] * one[3] else other
    left, top = min(one[0], other[0]), min(one[1], other[1])
    right, bottom = max(one[0] + one[2], other[0] + other[2]), max(one[1] + one[3], other[1] + other[3])
    return left, top, right - left, bottom - top


def _relabelled(ids: SegmentMap, becomes: Mapping[int, int]) -> SegmentMap:
    if not becomes:
        return ids
    table = np.arange(int(max(ids.max(initial=0), *becomes)) + 1)
    table[list(becomes)] = list(becomes.values())
    return narrowest(table[ids.astype(np.intp)])
