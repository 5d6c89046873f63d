"""What changed between two jobs over the same images: another threshold, model or revision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, TypeAlias

from maskmill.dataset.classes import Classes
from maskmill.dataset.images import Dataset, ShardPlace
from maskmill.dataset.in_processes import OnProgress, Pool
from maskmill.dataset.selection import Selection
from maskmill.dataset.source import SourceMaker
from maskmill.errors import UsageError
from maskmill.masks.segment_map import SegmentMap
from maskmill.schema import Subtask
from maskmill.scoring import pairs
from maskmill.scoring.classes import ClassTable
from maskmill.scoring.confusion import Confusion, mean_iou
from maskmill.scoring.overlaps import Masks, Side
from maskmill.scoring.portions import Asked, Portion, Scorer, rank
from maskmill.scoring.quality import Matches
from maskmill.scoring.score import processes_for, write_rows
from maskmill.scoring.scores import ClassChange, ComparedImages, Comparison, ImageChange
from maskmill.scoring.scratch import Row, Scratch, scratch
from maskmill.scoring.sides import ScoredClass
from maskmill.scoring.summary import quality_of
from maskmill.scoring.survey import ShardListing, Survey, list_shard
from maskmill.scoring.truth.job import JobAsTruth, list_job

EITHER = "in one of the jobs"


@dataclass(frozen=True)
class CompareOptions:
    """How two jobs are compared. The selection is for both; `rows` is a file for all images that differ."""

    selection: Selection = field(default_factory=Selection)
    worst: int = 10
    rows: Path | None = None


Jobs: TypeAlias = tuple[Dataset, Dataset]
"""A and B, as a process has them open."""


@dataclass(frozen=True, kw_only=True)
class Comparer(Scorer):
    """Scores job B as if job A were true, and keeps the images that differ."""

    of_two_sizes: ClassVar[str] = "its mask is {} pixels large in the one job, in the other {}{}"

    def shard(self, jobs: Jobs, place: ShardPlace) -> Portion:
        """The images of a shard of B that A has."""
        a, b = jobs
        return self._portion(JobAsTruth(tuple(self.table.classes), a), self._images(b, place))

    def _score(self, portion: Portion, asked: Asked, truth: Side | Masks | None, ids: SegmentMap | None) -> None:
        if truth is None or ids is None:
            portion.without_mask[EITHER] += 1
        else:
            super()._score(portion, asked, truth, ids)

    def _row(self, asked: Asked, result: Matches, pixels: Confusion) -> Row | None:
        if result.equal:
            return None
        pq, iou = self._alone(result, pixels)
        change = ImageChange(
            number=asked.number,
            uri=asked.uri,
            pq=pq,
            iou=iou,
            same_pixels=pixels.agreement(),
            matched=len(result.matched),
            only_in_a=self._named(result.missed),
            only_in_b=self._named(result.false),
        )
        return Row(rank(pq), rank(iou), asked.number, change.model_dump_json())


def compare(
    make_a: SourceMaker,
    make_b: SourceMaker,
    options: CompareOptions,
    *,
    processes: int | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Comparison:
    """How the masks of job B differ from those of job A. Images are the same by their addresses.

    Raises `UsageError` where they have no image in common. An image whose mask cannot be read costs itself alone.
    """
    jobs = _open(make_a, make_b, options.selection)
    wanted = processes or processes_for(jobs[1].source.record.images)
    with scratch() as file, Pool(partial(_open, make_a, make_b, options.selection), wanted) as pool:
        a, b = (
            Survey(each, pool.map(partial(_list_shard, number), range(each.source.shards)))
            for number, each in enumerate(jobs)
        )
        list_job(a, file)
        pairs.pair(file, b.images(), pairs.by_address)
        images = pairs.paired(file)
        _check(images, file)
        table, told_by = _classes(a, b)
        classes = len(table.classes)
        comparer = Comparer(table=table, chosen=frozenset(table.chosen(options.selection.labels)), scratch=file)
        whole, done = Portion.empty(), 0
        for portion in pool.map(comparer.shard, b.places):
            file.add_rows(portion.rows)
            whole.add(portion)
            done += portion.images
            on_progress(done, images.both)
        if options.rows:
            write_rows(file, options.rows)
        return Comparison(
            job_a=a.dataset.source.record.job,
            job_b=b.dataset.source.record.job,
            all=quality_of(whole, range(classes)),
            things=quality_of(whole, table.numbers(things=True)),
            stuff=quality_of(whole, table.numbers(things=False)),
            mean_iou=mean_iou(whole.confusion.ious(), range(classes)),
            pixels=whole.confusion.total,
            same_pixels=whole.confusion.agreement(),
            classes=tuple(_changes(whole, table.classes)),
            things_told_by=told_by,
            images=_account(images, whole, file),
            most_changed=tuple(map(ImageChange.from_json, islice(file.rows(scored=True), options.worst))),
            only_in_a=pairs.only_in_truth(file, options.worst, "last"),
            only_in_b=pairs.only_in_job(file, options.worst),
            ambiguous=pairs.ambiguous(file, options.worst),
            problems=tuple(whole.problems),
        )


def _check(images: pairs.Paired, file: Scratch) -> None:
    if not images.both:
        in_a, in_b = pairs.only_in_truth(file, 1, "last"), pairs.only_in_job(file, 1)
        shown = [each[0] if each else "none" for each in (in_a, in_b)]
        raise UsageError(f"the jobs have no image in common: the one has {shown[0]}, the other {shown[1]}")


def _classes(a: Survey, b: Survey) -> tuple[ClassTable, str]:
    """All labels of both jobs, and what told things from stuff."""
    selection = a.dataset.selection
    subtasks = [each.dataset.source.record.spec.subtask for each in (a, b)]
    subtask = Subtask.SEMANTIC if Subtask.SEMANTIC in subtasks else subtasks[0]  # whose segments are no instances
    labels = dict(enumerate(sorted(a.labels | b.labels)))
    selection.check(sorted(labels.values()), subtask)
    found = Classes.of(labels, selection, subtask)
    return ClassTable([ScoredClass(each.name, each.thing) for each in found.categories]), found.told_by


def _open(make_a: SourceMaker, make_b: SourceMaker, selection: Selection) -> Jobs:
    return Dataset(make_a(), selection), Dataset(make_b(), selection)


def _list_shard(number: int, jobs: Jobs, shard: int) -> ShardListing:
    """Of A, which is read again by its outcomes, or of B."""
    return list_shard(jobs[number], shard, outcomes=number == 0)


def _changes(whole: Portion, classes: Sequence[ScoredClass]) -> Iterator[ClassChange]:
    """The classes that either job has."""
    ious = whole.confusion.ious()
    pixels_a, pixels_b = whole.confusion.totals()
    for number, known in enumerate(classes):
        counted = whole.tally[number]
        if counted.quality.classes:
            yield ClassChange(
                name=known.name,
                thing=known.thing,
                pq=counted.quality.pq,
                iou=ious.get(number),
                segments_a=counted.matched + counted.missed,
                segments_b=counted.matched + counted.false,
                pixels_a=pixels_a[number],
                pixels_b=pixels_b[number],
            )


def _account(images: pairs.Paired, whole: Portion, file: Scratch) -> ComparedImages:
    without_mask = whole.without_mask[EITHER]
    return ComparedImages(
        compared=images.both - without_mask - whole.not_scored,
        differ=file.execute("SELECT count(*) FROM result WHERE first >= 0").fetchone()[0],
        without_mask=without_mask,
        only_in_a=images.only_in_truth,
        only_in_b=images.only_in_job,
        ambiguous=images.ambiguous,
        not_compared=whole.not_scored,
    )
