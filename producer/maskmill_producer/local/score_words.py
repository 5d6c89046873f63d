"""What a score leaves out, takes or cannot say, in sentences: for the terminal and for the report's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from maskmill.words import counted

if TYPE_CHECKING:
    from maskmill.scoring.scores import Comparison, Scores

NAMES_SHOWN = 8


def scored(scores: Scores) -> str:
    """How many images the figures are of."""
    images = scores.images
    empty = sum(images.without_mask.values())
    text = f"{counted(images.scored, 'image')} of the job scored against {scores.kind}"
    if empty:
        text += f", {empty:,} of them without a mask, which counts as empty: {counts(images.without_mask)}"
    return text


def about_scores(scores: Scores) -> Iterator[str]:
    """What is to be known beside the figures, a sentence each."""
    images, ap = scores.images, scores.ap
    if scores.no_ap:
        yield f"no AP: {scores.no_ap}"
    if ap and ap.beyond:
        yield (
            f"AP leaves out {counted(ap.beyond, 'segment')} beyond {ap.limit:,} of a class in an image, as COCO's does "
            "(--max-detections N takes more)"
        )
    if ap and ap.without_score:
        yield f"AP takes {counted(ap.without_score, 'segment')} without a score as if it were 1"
    if images.missing:
        they = "are left out" if images.missing_left_out else "count as missed (--only-submitted leaves them out)"
        yield f"{counted(images.missing, 'image')} of the truth not in the job {they}{named(scores.missing)}"
    if images.without_truth:
        yield f"{counted(images.without_truth, 'image')} of the job without truth{named(scores.without_truth)}"
    if images.ambiguous:
        several = counted(images.ambiguous, "image")
        yield f"{several} not to be told apart by their paths, and left out{named(scores.ambiguous)}"
    if scores.labels_without_class:
        labels = counts(scores.labels_without_class)
        yield f"segments whose label is no class of the truth count for nothing: {labels}; --map-labels FILE renames"
    if scores.classes_without_label:
        yield f"classes that the job has no label for are missed: {some(scores.classes_without_label)}"


def compared(found: Comparison) -> str:
    """How many images are not the same."""
    return f"{found.images.differ:,} of {counted(found.images.compared, 'image')} differ"


def about_comparison(found: Comparison) -> Iterator[str]:
    """The same of two jobs."""
    images = found.images
    if images.without_mask:
        yield f"{counted(images.without_mask, 'image')} without a mask in one of the jobs or both"
    for number, where, names in (
        (images.only_in_a, "in A alone", found.only_in_a),
        (images.only_in_b, "in B alone", found.only_in_b),
        (images.ambiguous, "not to be told apart", found.ambiguous),
    ):
        if number:
            yield f"{counted(number, 'image')} {where}{named(names)}"
    yield f"things and stuff: told by {found.things_told_by}"


def counts(numbers: Mapping[str, int]) -> str:
    """`cat 2, dog`: by number, the most first."""
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    return some([f"{name} {number:,}" if number > 1 else name for name, number in ordered])


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")


def named(names: Sequence[str]) -> str:
    """`: a.jpg, b.jpg` behind what is said of them; nothing where no names were asked for."""
    return f": {some(names)}" if names else ""
