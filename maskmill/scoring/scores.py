"""What a score says, for programs, files and pages: records without pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskmill.schema import VERSION, ImageProblem, Record
from maskmill.schema.record import Count, Fraction

Share = Fraction | None
"""None where there is nothing to be right or wrong about."""


COCO_DETECTIONS = 100
"""Segments of one class in one image that COCO's AP takes at most: those with the best scores."""


NOT_IN_JOB = "not in the job"
"""Why an image of the truth has no mask that the job does not have."""


class PanopticQuality(Record):
    """PQ, SQ and RQ: the means over `classes` that were seen."""

    pq: Share = None
    sq: Share = None
    rq: Share = None
    classes: Count


class AveragePrecision(Record):
    """AP over IoU from 0.5 to 0.95, and at two of them.

    Segments beyond `limit` of a class in an image have no part in it; `beyond` says how many. `without_score` segments
    count with a score of 1.
    """

    ap: Share = None
    ap50: Share = None
    ap75: Share = None
    limit: Count
    beyond: Count
    without_score: Count


class ClassScore(Record):
    """One class. `true` and `predicted` are segments, crowds and what is ignored left out; `iou` is that of pixels."""

    name: str
    thing: bool
    pq: Share = None
    sq: Share = None
    rq: Share = None
    iou: Share = None
    ap: Share = None
    true: Count
    predicted: Count
    matched: Count


class ImageScore(Record):
    """One image alone: its PQ, the mean IoU of its classes, and how many segments of which class are missed or false.

    `accuracy` is the share of its pixels that have the right class. `without_mask` says why nothing was predicted.
    `number` is its place in the order of submission, from 0; None of an image that the job does not have.
    """

    number: Count | None = None
    uri: str
    truth: str
    pq: Share = None
    iou: Share = None
    accuracy: Share = None
    matched: Count
    missed: dict[str, Count] = Field(default_factory=dict)
    false: dict[str, Count] = Field(default_factory=dict)
    without_mask: str | None = None


class Confused(Record):
    """Pixels of one class that were taken for another; None is no class."""

    true: str | None
    predicted: str | None
    pixels: Count


class ScoredImages(Record):
    """The account: job and truth have `scored` images in common, and `without_mask` of them count as empty.

    `missing` images of the truth are not in the job: their segments count as missed, unless these images were left out.
    """

    scored: Count
    without_mask: dict[str, Count] = Field(default_factory=dict)
    missing: Count
    missing_left_out: bool = False
    without_truth: Count
    ambiguous: Count
    not_scored: Count


class Scores(Record):
    """How good a job's masks are. `worst` are the images with the lowest PQ (of class ids: IoU), the worst first.

    `labels_without_class` are labels of the job that the truth does not have: their segments count for nothing, so many
    there are. `classes_without_label` are classes that no label of the model is: all their segments are missed.
    `missing`, `without_truth`, `ambiguous` and `problems` name the first images of those that the account counts.
    """

    version: Literal[1] = VERSION
    job: str
    truth: str
    kind: str
    all: PanopticQuality
    things: PanopticQuality
    stuff: PanopticQuality
    ap: AveragePrecision | None = None
    no_ap: str | None = None
    mean_iou: Share = None
    accuracy: Share = None
    classes: tuple[ClassScore, ...]
    labels_without_class: dict[str, Count]
    classes_without_label: tuple[str, ...]
    images: ScoredImages
    confused: tuple[Confused, ...]
    worst: tuple[ImageScore, ...]
    missing: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    problems: tuple[ImageProblem, ...] = ()


class ClassChange(Record):
    """One class in two jobs: PQ and IoU of B against A, and how many segments and pixels each has."""

    name: str
    thing: bool
    pq: Share = None
    iou: Share = None
    segments_a: Count
    segments_b: Count
    pixels_a: Count
    pixels_b: Count


class ImageChange(Record):
    """An image whose masks differ: segments without a match in the other job, and the share of pixels that agree.

    `number` is its place in job B, from 0.
    """

    number: Count
    uri: str
    pq: Share = None
    iou: Share = None
    same_pixels: Share = None
    matched: Count
    only_in_a: dict[str, Count] = Field(default_factory=dict)
    only_in_b: dict[str, Count] = Field(default_factory=dict)


class ComparedImages(Record):
    """The account: `compared` images have a mask in both jobs, and in `differ` of them these are not equal.

    `without_mask` images are in both jobs and have none in one of them, or in both.
    """

    compared: Count
    differ: Count
    without_mask: Count
    only_in_a: Count
    only_in_b: Count
    ambiguous: Count
    not_compared: Count


class Comparison(Record):
    """What changed from job A to job B: PQ of B as if A were true. `most_changed` images come with the lowest PQ first.

    `pixels` are those of all images that were compared, and `same_pixels` the share of them that have the same class.
    `only_in_a`, `only_in_b`, `ambiguous` and `problems` name the first images of those that the account counts.
    """

    version: Literal[1] = VERSION
    job_a: str
    job_b: str
    all: PanopticQuality
    things: PanopticQuality
    stuff: PanopticQuality
    mean_iou: Share = None
    pixels: Count
    same_pixels: Share = None
    classes: tuple[ClassChange, ...]
    things_told_by: str
    images: ComparedImages
    most_changed: tuple[ImageChange, ...]
    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    problems: tuple[ImageProblem, ...] = ()
