"""The figures of a whole score, from the sums of its portions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from maskmill.dataset.selection import Selection
from maskmill.scoring.classes import ClassTable
from maskmill.scoring.confusion import NO_CLASS, mean_iou
from maskmill.scoring.pairs import Paired
from maskmill.scoring.portions import Portion
from maskmill.scoring.scores import (
    NOT_IN_JOB,
    AveragePrecision,
    ClassScore,
    Confused,
    ImageScore,
    PanopticQuality,
    ScoredImages,
    Scores,
)

CONFUSED = 10
"""Pairs of classes that are named, those with the most pixels."""


def quality_of(whole: Portion, chosen: Collection[int]) -> PanopticQuality:
    """The means over these classes."""
    return PanopticQuality(**vars(whole.tally.quality(chosen)))


@dataclass(frozen=True)
class Summary:
    """All sums, and what the job has; with labels chosen, means are over their classes alone."""

    table: ClassTable
    whole: Portion
    images: Paired
    labels: Sequence[str]
    selection: Selection

    def scores(
        self,
        *,
        job: str,
        truth: str,
        kind: str,
        no_ap: str | None,
        missing_left_out: bool,
        worst: Sequence[str],
        missing: Sequence[str],
        without_truth: Sequence[str],
        ambiguous: Sequence[str],
    ) -> Scores:
        """The record of all figures."""
        return Scores(
            job=job,
            truth=truth,
            kind=kind,
            all=quality_of(self.whole, self._chosen),
            things=quality_of(self.whole, self._chosen & set(self.table.numbers(things=True))),
            stuff=quality_of(self.whole, self._chosen & set(self.table.numbers(things=False))),
            ap=self._precision(),
            no_ap=no_ap,
            mean_iou=mean_iou(self._ious, self._chosen),
            accuracy=self.whole.confusion.accuracy(self._chosen),
            classes=tuple(map(self._class, sorted(self._chosen))),
            labels_without_class=dict(self.whole.without_class.most_common()),
            classes_without_label=self._without_label(),
            images=self._account(missing_left_out=missing_left_out),
            confused=tuple(self._confused())[:CONFUSED],
            worst=tuple(map(ImageScore.from_json, worst)),
            missing=tuple(missing),
            without_truth=tuple(without_truth),
            ambiguous=tuple(ambiguous),
            problems=tuple(self.whole.problems),
        )

    @cached_property
    def _chosen(self) -> set[int]:
        """The classes that means are over."""
        return self.table.chosen(self.selection.labels)

    @cached_property
    def _ious(self) -> dict[int, float]:
        return self.whole.confusion.ious()

    def _precision(self) -> AveragePrecision | None:
        detections = self.whole.detections
        if detections is None:
            return None
        things = sorted(self._chosen & set(self.table.numbers(things=True)))
        found = detections.mean_precision(things)
        return AveragePrecision(
            **vars(found),
            limit=detections.limit,
            beyond=detections.beyond,
            without_score=self.whole.without_score,
        )

    def _class(self, number: int) -> ClassScore:
        counted, known = self.whole.tally[number], self.table.classes[number]
        quality = counted.quality
        detections = self.whole.detections if known.thing else None
        return ClassScore(
            name=known.name,
            thing=known.thing,
            pq=quality.pq,
            sq=quality.sq,
            rq=quality.rq,
            iou=self._ious.get(number),
            ap=detections.precision(number).ap if detections else None,
            true=counted.matched + counted.missed,
            predicted=counted.matched + counted.false,
            matched=counted.matched,
        )

    def _without_label(self) -> tuple[str, ...]:
        chosen = {self.table.classes[number].name for number in self._chosen}
        return tuple(name for name in self.table.without_label(self.labels) if name in chosen)

    def _account(self, *, missing_left_out: bool) -> ScoredImages:
        problems = self.whole.not_scored
        without = dict(self.whole.without_mask)
        without.pop(NOT_IN_JOB, None)
        return ScoredImages(
            scored=self.images.both - problems,
            without_mask=without,
            missing=self.images.only_in_truth,
            missing_left_out=missing_left_out,
            without_truth=self.images.only_in_job,
            ambiguous=self.images.ambiguous,
            not_scored=problems,
        )

    def _confused(self) -> Iterator[Confused]:
        for true, predicted, pixels in self.whole.confusion.mistaken():
            if self._chosen & {true, predicted}:
                yield Confused(true=self._name(true), predicted=self._name(predicted), pixels=pixels)

    def _name(self, number: int) -> str | None:
        return None if number == NO_CLASS else self.table.classes[number].name
