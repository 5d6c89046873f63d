"""A score from beginning to end: the truth is listed, images are paired, shards are scored in processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from maskmill.cores import usable_cores
from maskmill.dataset.images import Dataset, ShardPlace
from maskmill.dataset.in_processes import OnProgress, Pool
from maskmill.dataset.selection import Selection
from maskmill.dataset.source import SourceMaker
from maskmill.errors import UsageError
from maskmill.scoring import pairs
from maskmill.scoring.classes import ClassTable
from maskmill.scoring.confusion import Confusion
from maskmill.scoring.portions import Asked, Portion, Scorer, rank
from maskmill.scoring.quality import Matches
from maskmill.scoring.scores import COCO_DETECTIONS, NOT_IN_JOB, ImageScore, Scores
from maskmill.scoring.scratch import Row, Scratch, scratch
from maskmill.scoring.summary import Summary
from maskmill.scoring.survey import Survey, list_shard
from maskmill.scoring.truth import Truth, open_truth
from maskmill.storage.ahead import batched

CHUNK = 64
"""Images of the truth that the job does not have are scored so many at a time."""

FEW_IMAGES = 300


@dataclass(frozen=True)
class ScoreOptions:
    """How a job is scored; all else is decided by the truth.

    `truth_classes` names the classes of class-id PNGs. With `only_submitted` images that the job does not have are left
    out, instead of counting as missed. AP takes `max_detections` segments of a class and image, as COCO's does, and
    `ap=False` spares it. `rows` is a file for the results of all images, `worst` how many are in the answer.
    """

    selection: Selection = field(default_factory=Selection)
    truth_classes: Path | None = None
    only_submitted: bool = False
    ap: bool = True
    max_detections: int = COCO_DETECTIONS
    worst: int = 10
    rows: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TruthScorer(Scorer):
    """Scores images of a job against what is true, and keeps a row for each."""

    truth: Truth

    def shard(self, dataset: Dataset, place: ShardPlace) -> Portion:
        """The images of a shard that the truth has."""
        return self._portion(self.truth, self._images(dataset, place))

    def missing(self, dataset: Dataset, keys: Iterable[int]) -> Portion:
        """Images of the truth that the job does not have: nothing was predicted for them."""
        del dataset
        images = map(self.scratch.true_image, keys)
        return self._portion(
            self.truth, (Asked(image.key, image.path, image, why_empty=NOT_IN_JOB) for image in images)
        )

    def _row(self, asked: Asked, result: Matches, pixels: Confusion) -> Row:
        pq, iou = self._alone(result, pixels)
        score = ImageScore(
            number=None if asked.why_empty == NOT_IN_JOB else asked.number,
            uri=asked.uri,
            truth=asked.true.path,
            pq=pq,
            iou=iou,
            accuracy=pixels.accuracy(self.chosen),
            matched=len(result.matched),
            missed=self._named(result.missed),
            false=self._named(result.false),
            without_mask=asked.why_empty,
        )
        first, second = (pq, iou) if self.truth.has_instances else (iou, pq)
        return Row(rank(first), rank(second), asked.number, score.model_dump_json())


def score(
    make: SourceMaker,
    truth: Path,
    options: ScoreOptions,
    *,
    processes: int | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Scores:
    """Compare the masks of the job that `make` opens with what is true.

    Raises `TruthUnusable` for a path that is no truth, and `UsageError` where job and truth have no image or class in
    common. An image whose mask or truth cannot be read costs itself alone.
    """
    dataset = Dataset(make(), options.selection)
    wanted = processes or processes_for(dataset.source.record.images)
    with scratch() as file, Pool(Dataset.opener(make, options.selection), wanted) as pool:
        known = open_truth(truth, file, options.truth_classes)
        table = ClassTable(known.classes)
        survey = Survey(dataset, pool.map(list_shard, range(dataset.source.shards)))
        pairs.pair(file, survey.images(), pairs.by_stem if known.by_stem else pairs.by_path)
        images, labels = pairs.paired(file), survey.names()
        table.check(labels)
        _check_images(images, file)
        no_ap = _why_no_ap(known, options)
        scorer = TruthScorer(
            table=table,
            chosen=frozenset(table.chosen(options.selection.labels)),
            scratch=file,
            max_detections=None if no_ap else options.max_detections,
            truth=known,
        )
        whole = Portion.empty(scorer.max_detections)
        for portion in _portions(pool, scorer, survey.places, options, images, on_progress):
            file.add_rows(portion.rows)
            whole.add(portion)
        if options.rows:
            write_rows(file, options.rows)
        summary = Summary(table, whole, images, labels, options.selection)
        return summary.scores(
            job=dataset.source.record.job,
            truth=str(truth),
            kind=known.kind,
            no_ap=no_ap,
            missing_left_out=options.only_submitted,
            worst=tuple(islice(file.rows(scored=True), options.worst)),
            missing=pairs.only_in_truth(file, options.worst),
            without_truth=pairs.only_in_job(file, options.worst),
            ambiguous=pairs.ambiguous(file, options.worst),
        )


def _why_no_ap(truth: Truth, options: ScoreOptions) -> str | None:
    if not options.ap:
        return "not asked for"
    if not truth.has_instances:
        return "class ids do not tell things apart"
    if not any(each.thing for each in truth.classes):
        return "the truth has no things"
    if find_spec("pycocotools") is None:
        return "it needs pycocotools: pip install 'maskmill[score]'"
    return None


def _check_images(images: pairs.Paired, file: Scratch) -> None:
    if images.both:
        return
    if images.ambiguous:
        raise UsageError(
            f"no image of the job is one of the truth for sure: {images.ambiguous:,} may be several, such as "
            f"{pairs.ambiguous(file, 1)[0]}; paths in the truth need their folders"
        )
    mine, theirs = (find(file, 1) or ("none",) for find in (pairs.only_in_job, pairs.only_in_truth))
    raise UsageError(f"job and truth have no image in common: the job has {mine[0]}, the truth {theirs[0]}")


def _portions(
    pool: Pool[Dataset],
    scorer: TruthScorer,
    places: Sequence[ShardPlace],
    options: ScoreOptions,
    images: pairs.Paired,
    on_progress: OnProgress,
) -> Iterator[Portion]:
    missing = [] if options.only_submitted else pairs.absent(scorer.scratch)
    done, total = 0, images.both + len(missing)
    for portions in (pool.map(scorer.shard, places), pool.map(scorer.missing, batched(missing, CHUNK))):
        for portion in portions:
            done += portion.images
            on_progress(done, total)
            yield portion


def processes_for(images: int) -> int:
    """A process a core, but for small jobs, which are done before processes have started."""
    return usable_cores() if images > FEW_IMAGES else 1


def write_rows(file: Scratch, path: Path) -> None:
    """All rows as lines of JSON; raises `UsageError` where they cannot be written."""
    try:
        with path.open("w", encoding="utf-8") as target:
            target.writelines(f"{row}\n" for row in file.rows())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
