"""Panoptic quality of 5,000 pairs of 640 × 480: the whole of `job.score`, against panopticapi and hotcoco.

All read the same pixels from files, ours the job's masks with their headers, the peers RGB PNGs, and use all cores.
panopticapi is not on PyPI: `PANOPTICAPI` names a checkout of github.com/cocodataset/panopticapi, or it is left out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from hotcoco import panoptic as hotcoco_panoptic

from benchmarks.images import made_once
from benchmarks.memory import peak_memory
from benchmarks.result import Comparison, Figure, Result
from benchmarks.scale import Extent, say
from benchmarks.score_pairs import REGIONS, LocalJob, class_of, make_pairs, scene
from maskmill.scoring.overlaps import Part, Side, overlaps
from maskmill.scoring.quality import matches
from maskmill.scoring.score import ScoreOptions, score

TITLE = "Panoptic quality of 5,000 pairs of 640 × 480"
PAIRS = Extent(5000, quick=300)
ROUNDS = Extent(3, quick=1)
BAR = 3.0
MAPS = Extent(50, quick=10)
"""Pairs in memory, of which the quality alone is measured."""

Timed = tuple[float, float, int]
"""PQ, seconds, peak of memory."""


def run() -> Result:
    """Each side in turn, several times; the medians count."""
    pairs = PAIRS.now
    folder = made_once(f"score-pairs-{pairs}", partial(make_pairs, pairs=pairs))
    sides: dict[str, Callable[[], float]] = {
        "maskmill": partial(_ours, folder),
        "hotcoco": partial(_hotcoco, folder),
    }
    if checkout := os.environ.get("PANOPTICAPI"):
        sys.path.insert(0, checkout)
        sides["panopticapi"] = partial(_panopticapi, folder)
    runs: dict[str, list[Timed]] = {name: [] for name in sides}
    for _ in range(ROUNDS.now):
        for name, side in sides.items():
            runs[name].append(_timed(side))
            say(f"{name}: PQ {runs[name][-1][0]:.6f} in {runs[name][-1][1]:.1f} s")
    seconds = {name: median(each[1] for each in found) for name, found in runs.items()}
    figures = [
        Figure(
            name=name,
            value=1000 * seconds[name] / pairs,
            unit="ms a pair",
            settings=f"{pairs:,} pairs, all cores, median of {ROUNDS.now}; PQ {found[0][0]:.6f}",
            peak_bytes=max(each[2] for each in found),
        )
        for name, found in runs.items()
    ]
    ours, theirs = _in_memory(_our_matches), _in_memory(_by_unique)
    alone = "one thread, maps in memory"
    figures += [
        Figure(name="overlaps alone, maskmill", value=1000 * ours, unit="ms a pair", settings=alone),
        Figure(name="overlaps alone, by np.unique", value=1000 * theirs, unit="ms a pair", settings=alone),
    ]
    comparisons = []
    if "panopticapi" in seconds:
        value = seconds["panopticapi"] / seconds["maskmill"]
        comparisons.append(Comparison(name="the whole score against panopticapi", value=value, bar=BAR))
    equal = len({f"{found[0][0]:.9f}" for found in runs.values()}) == 1
    notes = [
        f"The PQ of all sides {'is equal' if equal else 'DIFFERS'}. Ours has mean IoU and a row for each image, no AP.",
        f"hotcoco takes {seconds['hotcoco'] / seconds['maskmill']:.2f} of our time; it decodes PNGs in Rust.",
        "The largest part of ours is decoding the truth's RGB PNG; panopticapi decodes two.",
    ]
    return Result(figures=figures, comparisons=comparisons, notes=notes)


def _timed(side: Callable[[], float]) -> Timed:
    with peak_memory() as peak:
        started = time.perf_counter()
        quality = side()
        seconds = time.perf_counter() - started
    return quality, seconds, peak.growth


def _ours(folder: Path) -> float:
    found = score(partial(LocalJob, folder), folder / "true.json", ScoreOptions(ap=False))
    return found.all.pq or 0.0


def _hotcoco(folder: Path) -> float:
    found = hotcoco_panoptic.PanopticEval(folder / "true.json", folder / "predicted.json")
    found.evaluate()
    return float(found.results()["All"]["pq"])


def _panopticapi(folder: Path) -> float:
    from panopticapi.evaluation import pq_compute

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        found = pq_compute(str(folder / "true.json"), str(folder / "predicted.json"))
    return float(found["All"]["pq"])


def _in_memory(count: Callable[[np.ndarray, np.ndarray], object]) -> float:
    """Seconds a pair, the best of several rounds over the same maps."""
    maps = [(true.astype(np.uint32), predicted) for true, predicted in map(scene, range(MAPS.now))]
    rounds = []
    for _ in range(ROUNDS.now + 1):
        started = time.process_time()
        for true, predicted in maps:
            count(true, predicted)
        rounds.append(time.process_time() - started)
    return min(rounds) / MAPS.now


def _our_matches(true: np.ndarray, predicted: np.ndarray) -> object:
    parts = {each: Part(class_of(each)) for each in range(1, REGIONS + 1)}
    sides = Side.of(true, parts, {0}), Side.of(predicted, parts)
    return matches(overlaps(*sides), sides[0].parts, sides[1].parts)


def _by_unique(true: np.ndarray, predicted: np.ndarray) -> object:
    """As panopticapi counts: all pixels of the prediction, and of both together, sorted."""
    pairs = true.astype(np.uint64) * 256**3 + predicted.astype(np.uint64)
    return np.unique(predicted.astype(np.uint32), return_counts=True), np.unique(pairs, return_counts=True)
