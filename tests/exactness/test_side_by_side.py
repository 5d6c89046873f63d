"""Every family with passes side by side, and with passes that take turns, against one batch alone: equal bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import Prediction, predict
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import AtATime, Segmentation, Segmenter
from maskmill_worker.process.clock import DeviceClock
from maskmill_worker.shards.forward_threads import Batch, ForwardThreads, Lanes

from .families import FAMILIES, OTHERS, Family, is_here
from .in_process import sample_of, segmenter_of

ROUNDS, PHOTOGRAPHS = 2, slice(0, None, 2)
HERE = [family for family in (FAMILIES | OTHERS).values() if is_here(family)]


@pytest.fixture(scope="module")
def models() -> Models:
    return Models("cpu")


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("family", HERE, ids=lambda family: family.name)
def test_batches_that_run_side_by_side_come_out_as_each_does_alone(
    passes: int, family: Family, models: Models, model_folder: Callable[[str], Path], photograph_paths: dict[str, Path]
) -> None:
    """Photographs of several shapes, so that what one call kept for another would not even fit."""
    segmenter = segmenter_of(models, model_folder(family.name), family.subtasks[-1])
    assert segmenter.at_a_time is AtATime.ANY
    paths = list(photograph_paths.values())[PHOTOGRAPHS]
    samples = [sample_of(segmenter, path, index) for index, path in enumerate(paths)]
    alone = [predicted(segmenter, [sample]) for sample in samples]
    together = side_by_side(segmenter, samples, passes)
    for sample, (one,) in zip(samples, alone, strict=True):
        found = together[sample.task.index]
        assert len(found) == ROUNDS
        for each in found:
            assert isinstance(each, Segmentation)
            assert isinstance(one, Segmentation)
            assert each.segments == one.segments, sample.task.reference.uri
            assert (each.ids == one.ids).all(), sample.task.reference.uri


def predicted(segmenter: Segmenter, batch: Batch) -> list[object]:
    return [each.result for each in predict(segmenter, batch, BatchSize(1))]


def side_by_side(segmenter: Segmenter, samples: Sequence[Sample], passes: int) -> dict[int, list[object]]:
    """What becomes of each sample, in batches of one, in several rounds."""
    found: dict[int, list[object]] = {sample.task.index: [] for sample in samples}

    def work(batch: Batch) -> None:
        predictions: list[Prediction] = list(predict(segmenter, batch, BatchSize(1), turn=threads.turn))
        found[batch[0].task.index] += [each.result for each in predictions]

    lanes = Lanes(passes, 3, max(1, torch.get_num_threads() // passes), 1)
    with ForwardThreads(work, lanes, DeviceClock(), segmenter.device).open() as threads:
        for sample in [*samples] * ROUNDS:
            threads.run([sample], entering=lambda _: None)
        threads.finish()
    return found
