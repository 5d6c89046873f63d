"""What the page says of each class, and of all segments: counts, areas, scores. Memory grows with classes alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskmill.colours import colour_of, in_hex, ink_on
from maskmill.schema import Outcome, Segment

SCORES = 1000
"""Steps of a score: what is told of scores is right to a thousandth."""

SCORE_BARS, COUNT_BARS = 50, 24
AREA_STEPS = 4
"""Bars for each power of ten of a segment's share of its image."""

LEAST_POWER = -6
"""Smaller shares are in the first bar: ten pixels of ten megapixels."""


@dataclass
class ClassTotals:
    """One class: in how many images, how many segments of how many pixels, and how many have which score."""

    name: str
    images: int = 0
    segments: int = 0
    pixels: int = 0
    scores: list[int] = field(default_factory=lambda: [0] * (SCORES + 1))

    def add(self, segment: Segment) -> None:
        """Count one segment."""
        self.segments += 1
        self.pixels += segment.area
        if segment.score is not None:
            self.scores[in_steps(segment.score)] += 1

    def for_page(self, all_pixels: int) -> list[Any]:
        """Name, colour, ink, images, segments, share of all pixels, median score."""
        colour = colour_of(self.name)
        share = self.pixels / all_pixels if all_pixels else 0.0
        looks = in_hex(colour), in_hex(ink_on(colour))
        return [self.name, *looks, self.images, self.segments, round(share, 6), median(self.scores)]


class Classes:
    """All classes of a job, numbered as they come, and the distributions over all segments and images."""

    def __init__(self) -> None:
        self.totals: list[ClassTotals] = []
        self._numbers: dict[str, int] = {}
        self._pixels = 0
        self._segments_an_image = Counter[int]()
        self._areas = Counter[int]()

    def number_of(self, title: str) -> int:
        """The class's number, a new one at its first time."""
        if title not in self._numbers:
            self._numbers[title] = len(self.totals)
            self.totals.append(ClassTotals(title))
        return self._numbers[title]

    def add(self, outcome: Outcome) -> list[int]:
        """Count an image that has a mask; the numbers of its segments' classes."""
        pixels, segments = (outcome.width or 0) * (outcome.height or 0), outcome.segments or ()
        numbers = [self.number_of(segment.title) for segment in segments]
        for number, segment in zip(numbers, segments, strict=True):
            self.totals[number].add(segment)
            if segment.area and pixels:
                self._areas[_bar_of_share(segment.area / pixels)] += 1
        for number in set(numbers):
            self.totals[number].images += 1
        self._pixels += pixels
        self._segments_an_image[len(segments)] += 1
        return numbers

    def for_page(self) -> dict[str, Any]:
        """The table of classes and the bars of three histograms, each `[from, to, count]`."""
        scores = [sum(column) for column in zip(*(each.scores for each in self.totals), strict=True)]
        nothing, images = self._segments_an_image[0], self._segments_an_image.total()
        return {
            "classes": [each.for_page(self._pixels) for each in self.totals],
            "nothing": nothing,
            "masks": images,
            "scores": score_bars(scores),
            "segments": count_bars(self._segments_an_image),
            "areas": [[*_shares(bar), self._areas[bar]] for bar in range(AREA_STEPS * LEAST_POWER, 0)]
            if self._areas
            else [],
        }


def in_steps(score: float) -> int:
    """A score in thousandths, 0 to 1000."""
    return round(min(1.0, max(0.0, score)) * SCORES)


def median(scores: Sequence[int]) -> float | None:
    """The middle of scores that are counted by thousandths; None where there are none."""
    half, seen = (sum(scores) + 1) // 2, 0
    for step, number in enumerate(scores):
        seen += number
        if number and seen >= half:
            return step / SCORES
    return None


def score_bars(scores: Sequence[int]) -> list[list[float]]:
    """Bars of equal width from 0 to 1; no bars where nothing has a score."""
    if not any(scores):
        return []
    width = SCORES // SCORE_BARS
    totals = [sum(scores[bar * width : (bar + 1) * width]) for bar in range(SCORE_BARS)]
    totals[-1] += scores[SCORES]
    return [[bar / SCORE_BARS, (bar + 1) / SCORE_BARS, total] for bar, total in enumerate(totals)]


def count_bars(counts: Counter[int]) -> list[list[int]]:
    """Bars of images by their number of segments: `[3, 3, 12]`, or wider ones `[0, 4, 40]` where there are many."""
    highest = max(counts, default=-1)
    width = -(-(highest + 1) // COUNT_BARS)
    starts = range(0, highest + 1, width or 1)
    return [[start, start + width - 1, _within(counts, range(start, start + width))] for start in starts]


def _within(counts: Counter[int], numbers: Iterable[int]) -> int:
    return sum(counts[number] for number in numbers)


def _bar_of_share(share: float) -> int:
    return max(AREA_STEPS * LEAST_POWER, min(-1, math.floor(AREA_STEPS * math.log10(share))))


def _shares(bar: int) -> tuple[float, float]:
    return 10 ** (bar / AREA_STEPS), 10 ** ((bar + 1) / AREA_STEPS)
