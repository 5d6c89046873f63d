"""What `maskmill score` and `maskmill compare` show on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from maskmill.terminal import shown
from maskmill_producer.cli import display
from maskmill_producer.local import score_words
from maskmill_producer.local.score_words import counts

if TYPE_CHECKING:
    from maskmill.schema import ImageProblem
    from maskmill.scoring.scores import Comparison, PanopticQuality, Scores

CLASSES_SHOWN = 20


def print_scores(scores: Scores) -> None:
    """The figures, the classes with the lowest PQ, the worst images, and what could not be scored."""
    display.print_table(_qualities(scores.all, scores.things, scores.stuff))
    if scores.ap:
        ap = scores.ap
        display.say(f"AP {_share(ap.ap)}, AP50 {_share(ap.ap50)}, AP75 {_share(ap.ap75)}")
    display.say(f"mean IoU {_share(scores.mean_iou)}, share of pixels with the right class {_share(scores.accuracy)}")
    display.say(score_words.scored(scores))
    _print_apart(_classes(scores))
    if scores.worst:
        _print_apart(_worst(scores))
    _print_problems(scores.problems, scores.images.not_scored)
    seen = sum(each.pq is not None for each in scores.classes)
    if seen > CLASSES_SHOWN:
        display.remark(f"the {CLASSES_SHOWN} classes with the lowest PQ of {seen}; --json has all")
    for line in score_words.about_scores(scores):
        display.remark(line)


def _qualities(*qualities: PanopticQuality) -> Table:
    table = _table("", "PQ", "SQ", "RQ", "classes")
    for name, each in zip(("all", "things", "stuff"), qualities, strict=True):
        table.add_row(name, *map(_share, (each.pq, each.sq, each.rq)), f"{each.classes:,}")
    return table


def _classes(scores: Scores) -> Table:
    seen = sorted((each for each in scores.classes if each.pq is not None), key=lambda each: each.pq or 0)
    table = _table("class", "PQ", "SQ", "RQ", "IoU", "AP", "true", "predicted", "matched")
    for each in seen[:CLASSES_SHOWN]:
        shares = map(_share, (each.pq, each.sq, each.rq, each.iou, each.ap))
        table.add_row(shown(each.name), *shares, *_numbers(each.true, each.predicted, each.matched))
    return table


def _worst(scores: Scores) -> Table:
    table = _table("worst images", "PQ", "IoU")
    for name in ("missed", "false"):
        table.add_column(name, overflow="fold")
    for each in scores.worst:
        missed = "all: " + each.without_mask if each.without_mask else counts(each.missed)
        table.add_row(
            shown(each.uri),
            _share(each.pq),
            _share(each.iou),
            shown(missed),
            shown(counts(each.false)),
        )
    return table


def print_comparison(found: Comparison) -> None:
    """The figures, the classes that changed most, the images that differ, and what is in one job alone."""
    display.say(score_words.compared(found))
    display.print_table(_qualities(found.all, found.things, found.stuff))
    display.say(f"mean IoU {_share(found.mean_iou)}, share of pixels with the same class {_share(found.same_pixels)}")
    if found.classes:
        _print_apart(_changes(found))
    if found.most_changed:
        _print_apart(_most_changed(found))
    _print_problems(found.problems, found.images.not_compared)
    for line in score_words.about_comparison(found):
        display.remark(line)


def _changes(found: Comparison) -> Table:
    table = _table("class", "PQ", "IoU", "segments in A", "in B", "pixels in A", "in B")
    for each in sorted(found.classes, key=lambda each: each.pq or 0)[:CLASSES_SHOWN]:
        numbers = _numbers(each.segments_a, each.segments_b, each.pixels_a, each.pixels_b)
        table.add_row(shown(each.name), _share(each.pq), _share(each.iou), *numbers)
    return table


def _most_changed(found: Comparison) -> Table:
    table = _table("most changed images", "PQ", "same pixels")
    for name in ("only in A", "only in B"):
        table.add_column(name, overflow="fold")
    for each in found.most_changed:
        only = (shown(counts(each.only_in_a)), shown(counts(each.only_in_b)))
        table.add_row(shown(each.uri), _share(each.pq), _share(each.same_pixels), *only)
    return table


def _print_apart(table: Table) -> None:
    display.say("")
    display.print_table(table)


def _print_problems(problems: Sequence[ImageProblem], number: int) -> None:
    for problem in problems:
        display.print_error(problem.code, problem.text, as_json=False)
    if number > len(problems):
        display.remark(f"and {number - len(problems):,} more; --out FILE names all")


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _numbers(*numbers: int) -> Iterable[str]:
    return (f"{number:,}" for number in numbers)
