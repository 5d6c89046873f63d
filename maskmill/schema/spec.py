"""What a job was asked for: all that changes its masks, and all that changes its speed."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from maskmill.choices import Dtype, Scale, Subtask
from maskmill.schema.record import VERSION, Fraction, Record


def _scale(text: str | None) -> str | None:
    """A valid `--scale`; None for `auto`, so that a spec without one and its fingerprint are the same."""
    return None if text is None or Scale.parse(text) == Scale() else text


def _git_name(revision: str) -> str:
    """A branch, tag or commit, of whose name the hub's client makes a file's (git-check-ref-format(1))."""
    if ".." in revision or revision.startswith(("/", "~")) or not revision.isprintable() or "\\" in revision:
        raise ValueError("no branch, tag or commit has such a name")
    return revision


LOADED = {"model", "revision", "image_processor", "dtype", "allow_missing_weights"}
"""The fields of a spec that say what is loaded."""


class Spec(Record):
    """All that changes the masks. Names and defaults are those of the transformers pipeline.

    `subtask` None means the first that the image processor supports, in the order panoptic, instance, semantic.
    `scale` is that of images of more than 8 bits (`maskmill.choices.Scale`), None the same as `auto`.
    `allow_missing_weights` takes a model whose files lack weights, with random ones (the same for each worker) instead.
    """

    model: Annotated[str, Field(min_length=1)] = "facebook/detr-resnet-50-panoptic"
    revision: Annotated[str, AfterValidator(_git_name)] | None = None
    image_processor: str | None = None
    subtask: Subtask | None = None
    threshold: Fraction = 0.9
    mask_threshold: Fraction = 0.5
    overlap_mask_area_threshold: Fraction = 0.5
    dtype: Dtype = Dtype.AUTO
    scale: Annotated[str | None, AfterValidator(_scale)] = None
    allow_missing_weights: Annotated[bool | None, AfterValidator(lambda allowed: allowed or None)] = None

    def fingerprint(self, model: ModelIdentity | None = None) -> str:
        """32 hex digits that differ whenever the masks may differ: by what was asked for and which files that was."""
        files = model.files if model else ""
        return hashlib.sha256(self.to_json() + files.encode()).hexdigest()[:32]

    def model_key(self) -> str:
        """16 hex digits that differ whenever another model must be loaded."""
        loaded = self.model_dump_json(include=LOADED)
        return hashlib.sha256(loaded.encode()).hexdigest()[:16]


class ModelIdentity(Record):
    """`model.json`: which files a job's model was made of, found out by the first worker that has loaded it.

    `model` and `image_processor` (None: the model's own) are `commit:` with the commit of a repository on the hub, or
    `files:` with a digest of a folder's files.
    """

    version: Literal[1] = VERSION
    model: str
    image_processor: str | None = None

    @property
    def files(self) -> str:
        """Both in one text."""
        return f"{self.model} {self.image_processor or ''}".strip()


class ModelClasses(Record):
    """`classes.json`: the names that a job's model has for its labels, put by the first worker that has loaded it."""

    version: Literal[1] = VERSION
    id2label: dict[int, str]


def _number_or_share(value: object) -> str:
    if not re.fullmatch(r"\d{1,12}|\d{1,3}(\.\d+)?%", str(value), re.ASCII):
        raise ValueError("write a number of images or a share of them: 100 or 1%")
    return str(value)


class Execution(Record):
    """How a job is run: changes its speed, its masks by float noise at most. None leaves the choice to the worker.

    `deterministic` runs every image alone with deterministic algorithms: bit-equal masks on equal machines.
    `overwrite` makes masks anew that are there already. `anonymous` reads `s3://` images without credentials. A job of
    higher `priority` (0 unless said) gets the workers first. More than `max_failures` failed images (a number, or a
    share of all such as `5%`) stop the job.
    """

    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    num_workers: Annotated[int, Field(ge=0)] | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None
    deterministic: bool | None = None
    overwrite: bool | None = None
    anonymous: bool | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    max_failures: Annotated[str, BeforeValidator(_number_or_share)] | None = None

    def allowed_failures(self, images: int) -> int | None:
        """How many of the job's images may fail before it is stopped; None: all."""
        if self.max_failures is None or not self.max_failures.endswith("%"):
            return None if self.max_failures is None else int(self.max_failures)
        return int(images * float(self.max_failures[:-1]) / 100)
