"""Average precision, by pycocotools: which detections match, and the curve of each class.

An image is matched and forgotten: a detection leaves its score and two numbers behind, no mask.
"""

from __future__ import annotations

import io
from array import array
from collections import defaultdict
from collections.abc import Sequence, Set
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from maskmill.scoring.overlaps import Ints, Overlaps, Part
from maskmill.scoring.scores import COCO_DETECTIONS

ALL_AREAS = [0, 1e10]


@dataclass
class Curve:
    """What the detections of one class leave: `matched` and `ignored` have a bit for each IoU threshold."""

    scores: array[float] = field(default_factory=lambda: array("d"))
    matched: array[int] = field(default_factory=lambda: array("H"))
    ignored: array[int] = field(default_factory=lambda: array("H"))
    true: int = 0

    def __iadd__(self, other: Curve) -> Curve:
        self.scores += other.scores
        self.matched += other.matched
        self.ignored += other.ignored
        self.true += other.true
        return self


@dataclass(frozen=True)
class Precision:
    """AP over IoU from 0.5 to 0.95, and at 0.5 and 0.75; None where there is no true segment."""

    ap: float | None
    ap50: float | None
    ap75: float | None


class Detections:
    """The detections of all images by class; those beyond `limit` of a class and image are counted and left out."""

    def __init__(self, limit: int = COCO_DETECTIONS) -> None:
        self.limit, self.beyond = limit, 0
        self.curves: defaultdict[int, Curve] = defaultdict(Curve)

    def add(
        self,
        overlaps: Overlaps,
        true: Sequence[Part],
        predicted: Sequence[Part],
        scores: Sequence[float | None],
        categories: Set[int],
    ) -> None:
        """Match one image's segments of these classes; a segment without a score has 1."""
        for category in categories & {part.category for part in (*true, *predicted)}:
            rows = [place for place, part in enumerate(true) if part.category == category]
            columns = [place for place, part in enumerate(predicted) if part.category == category]
            self.beyond += max(0, len(columns) - self.limit)
            image = _Image(overlaps, rows, columns, [true[row].crowd for row in rows], scores, self.limit)
            self.curves[category] += image.curve()

    def __iadd__(self, other: Detections) -> Detections:
        self.beyond += other.beyond
        for category, curve in other.curves.items():
            self.curves[category] += curve
        return self

    def precision(self, category: int) -> Precision:
        """The AP of one class."""
        return _means(self._curve(category)[:, :, None])

    def mean_precision(self, categories: Sequence[int]) -> Precision:
        """The AP over these classes; those without a true segment have no part in it."""
        curves = [self._curve(category) for category in categories]
        return _means(np.stack(curves, axis=2)) if curves else Precision(None, None, None)

    def _curve(self, category: int) -> NDArray[np.float64]:
        """Precision by IoU threshold and recall, -1 without a true segment."""
        return _All(self.curves.get(category, Curve())).precision()


class _Image(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """One class in one image, as `COCOeval` knows it; the IoU come from the overlaps instead of run lengths."""

    def __init__(
        self,
        overlaps: Overlaps,
        rows: Sequence[int],
        columns: Sequence[int],
        crowd: Sequence[bool],
        scores: Sequence[float | None],
        limit: int,
    ) -> None:
        super().__init__(iouType="segm")
        self.limit = limit
        self._gts[0, 0] = [
            {"id": n, "area": 0, "iscrowd": is_crowd, "ignore": is_crowd} for n, is_crowd in enumerate(crowd, 1)
        ]
        given = [1.0 if scores[column] is None else scores[column] for column in columns]
        self._dts[0, 0] = [{"id": n, "area": 0, "score": score} for n, score in enumerate(given, 1)]
        best = np.argsort(-np.array(given), kind="mergesort")[:limit]
        self.ious = {(0, 0): _ious(overlaps, rows, np.array(columns, np.int64)[best], crowd)}

    def curve(self) -> Curve:
        found = self.evaluateImg(0, 0, ALL_AREAS, self.limit)
        bits = 1 << np.arange(len(self.params.iouThrs))
        return Curve(
            array("d", found["dtScores"]),
            array("H", (bits @ (found["dtMatches"] > 0)).tolist()),
            array("H", (bits @ found["dtIgnore"]).tolist()),
            int(np.count_nonzero(found["gtIgnore"] == 0)),
        )


class _All(COCOeval):  # type: ignore[misc]  # the same
    """One class in all images, as if they were one."""

    def __init__(self, curve: Curve) -> None:
        super().__init__(iouType="segm")
        self.params.imgIds, self.params.catIds = [0], [0]
        self.params.areaRng, self.params.areaRngLbl = [ALL_AREAS], ["all"]
        self.params.maxDets = [max(1, len(curve.scores))]
        self._paramsEval = self.params
        thresholds = np.arange(len(self.params.iouThrs))[:, None]
        self.evalImgs = [
            {
                "dtScores": np.frombuffer(curve.scores) if curve.scores else np.zeros(0),
                "dtMatches": np.array(curve.matched, np.uint16) >> thresholds & 1,
                "dtIgnore": np.array(curve.ignored, np.uint16) >> thresholds & 1,
                "gtIgnore": np.zeros(curve.true),
            }
        ]

    def precision(self) -> NDArray[np.float64]:
        with redirect_stdout(io.StringIO()):
            self.accumulate()
        precision: NDArray[np.float64] = self.eval["precision"][:, :, 0, 0, 0]
        return precision


def _ious(overlaps: Overlaps, rows: Sequence[int], columns: Ints, crowd: Sequence[bool]) -> Any:
    """IoU by predicted and true segment; of a crowd it is the share of the predicted one that lies in it."""
    if not (rows and len(columns)):
        return []
    table = np.zeros((len(overlaps.predicted_areas) + 1, len(overlaps.true_areas) + 1))
    table[overlaps.predicted, overlaps.true] = overlaps.pixels
    shared = table[columns][:, list(rows)]
    areas = overlaps.predicted_areas[columns][:, None]
    union = np.where(crowd, areas, areas + overlaps.true_areas[list(rows)] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _means(precision: NDArray[np.float64]) -> Precision:
    """The means of what there is, as COCO's summary has them: IoU × recall × class."""

    def mean(values: NDArray[np.float64]) -> float | None:
        there = values[values > -1]
        return float(there.mean()) if len(there) else None

    return Precision(mean(precision), mean(precision[0]), mean(precision[5]))
