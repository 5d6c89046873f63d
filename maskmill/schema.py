"""The records that producer, broker, worker and bucket exchange: frozen, typed, versioned JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from json.encoder import encode_basestring
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_serializer

from maskmill.addresses import Address
from maskmill.choices import Dtype as Dtype
from maskmill.choices import Scale
from maskmill.choices import Subtask as Subtask
from maskmill.errors import InvalidRecord, NewerRecord, one_line
from maskmill.storage import keys

VERSION: Literal[1] = 1

MAX_SHARDS = 2**31
"""Far above what a bitmap of 512 MB, Redis's longest string, can mark as done (2^32 bits)."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
JobId = Annotated[str, Field(pattern=f"^{keys.JOB_ID.pattern}$")]
MaskKey = Annotated[str, Field(pattern=keys.MASK_KEY, max_length=keys.MAX_MASK_KEY)]


class Record(BaseModel):
    """Base of all records: immutable, and strict about unknown fields so that a foreign text is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    def to_json(self) -> bytes:
        """The record as one line of UTF-8 JSON, without the fields that are unset."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Parse one record; raises `InvalidRecord` (which carries the text) when it is not one.

        It is a `NewerRecord` when only a later Maskmill can read it.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            shown = text if isinstance(text, str) else text.decode(errors="replace")
            if _is_newer(shown, error):
                reason = f"this {cls.__name__} needs a newer Maskmill ({_fields(error)}): upgrade this one"
                raise NewerRecord(reason, shown) from error
            raise InvalidRecord(f"not a {cls.__name__}: {one_line(error)}", shown) from error


def _fields(error: ValidationError) -> str:
    """What cannot be read: `spec.tiles`, on one short line, since it comes from elsewhere."""
    names = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
    return " ".join(names.split())[:80]


def _is_newer(text: str, error: ValidationError) -> bool:
    """Whether a record is of a later version, or of this one with fields that it got since."""
    if {each["type"] for each in error.errors(include_url=False)} == {"extra_forbidden"}:
        return True
    try:
        found = json.loads(text)
    except ValueError:
        return False
    version = found.get("version") if isinstance(found, dict) else None
    return isinstance(version, int) and version > VERSION


def _scale(text: str | None) -> str | None:
    """A valid `--scale`; None for `auto`, so that a spec without one and its fingerprint are the same."""
    return None if text is None or Scale.parse(text) == Scale() else text


def _git_name(revision: str) -> str:
    """A branch, tag or commit, of whose name the hub's client makes a file's (git-check-ref-format(1))."""
    if ".." in revision or revision.startswith(("/", "~")) or not revision.isprintable() or "\\" in revision:
        raise ValueError("no branch, tag or commit has such a name")
    return revision


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


LOADED = {"model", "revision", "image_processor", "dtype", "allow_missing_weights"}
"""The fields of a spec that say what is loaded."""


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


class Reference(Record):
    """Where one image is, and the key (below the output prefix) of the mask that it will get.

    `uri` is an absolute local path, an `http(s)://`, `s3://bucket/key` or `data:` address, or what lies in a file:
    `zip://a.jpg::/data/photos.zip`. A job's shards alone hold it whole, with its passwords and signatures: workers
    fetch by it. With a `problem` it is the name of an entry that gives no image, and fails with it.
    """

    uri: Address
    mask_key: MaskKey
    problem: str | None = None

    @field_serializer("uri")
    def _whole(self, uri: Address) -> str:
        return uri.reveal()


def reference_line(uri: str, mask_key: str, problem: str | None = None) -> str:
    """The text of `Reference(uri=…, mask_key=…).to_json()`, at an eighth of its cost: a job may have millions."""
    more = f',"problem":{encode_basestring(problem)}' if problem else ""
    return f'{{"uri":{encode_basestring(uri)},"mask_key":{encode_basestring(mask_key)}{more}}}'


class JobRecord(Record):
    """`job.json`: what a user submitted. Written once all shards are in the bucket.

    `shard_size` is the setting at submission: `maskmill.jobs.submit.images_in_shard` makes later shards larger.
    `found` entries of the sources are the `images` and those `left_out`, by reason (`maskmill.images.entries.Reason`),
    with an example of each. Masks of local images below `root` mirror their paths from there.
    """

    version: Literal[1] = VERSION
    job: JobId
    created: datetime
    sources: tuple[Address, ...]
    column: str | None = None
    root: str | None = None
    all_files: bool = False
    spec: Spec
    execution: Execution
    found: Count | None = None
    left_out: dict[str, Count] = {}
    left_out_examples: dict[str, str] = {}
    images: Count
    shards: Annotated[int, Field(ge=0, le=MAX_SHARDS)]
    shard_size: Annotated[int, Field(ge=1)]
    software: dict[str, str] = {}


class Segment(Record):
    """One region of one image.

    `id` is the pixel value in the segment map (from 1), `area` in pixels, `box` is COCO's
    (x, y, width, height) in pixels. `score` is None for semantic segments, as in the pipeline. `label` is what the
    model's `id2label` has: a text, in some models a number or nothing.
    """

    id: Annotated[int, Field(ge=1)]
    label: str | int | float | None = None
    label_id: Count
    score: float | None = None
    area: Count
    box: tuple[int, int, int, int]

    @property
    def title(self) -> str:
        """The label for people: `cat`, `17`, and `label 3` where the model has none for it."""
        return f"label {self.label_id}" if self.label is None else str(self.label)


class Status(StrEnum):
    """What became of one image. Every submitted image ends as exactly one of these."""

    STORED = "stored"
    REUSED = "reused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImageWarning(Record):
    """What was decided about an image that has a mask nevertheless, such as which of its pages was taken.

    Example: `ImageWarning(code="first_frame", reason="the first of 30 frames")`. Codes are stable.
    """

    code: str
    reason: str


class Outcome(Record):
    """What became of one image of a shard: a mask with its segments, or an error code and a reason.

    Its JSON shows `uri` without passwords and signatures.
    `width` and `height` are those of the decoded image after its EXIF orientation, in pixels.
    `scale` are the values that became black and white, of an image of more than 8 bits.
    `seconds` are wall times by stage (fetch, decode, preprocess, forward, postprocess, encode, upload);
    those of a stage that serves a whole batch are divided by the images in it.
    """

    uri: Address
    status: Status
    code: str | None = None
    reason: str | None = None
    mask_key: MaskKey | None = None
    fingerprint: str | None = None
    width: Count | None = None
    height: Count | None = None
    segments: tuple[Segment, ...] | None = None
    scale: tuple[float, float] | None = None
    warnings: tuple[ImageWarning, ...] | None = None
    seconds: dict[str, float] | None = None

    @property
    def has_mask(self) -> bool:
        """Whether a mask of the image is in the store."""
        return self.status in (Status.STORED, Status.REUSED)


class Counts(Record):
    """Images by status. `submitted` images are accounted for when the four add up to it."""

    stored: Count = 0
    reused: Count = 0
    failed: Count = 0
    cancelled: Count = 0

    @property
    def total(self) -> int:
        """Images that have an outcome."""
        return self.stored + self.reused + self.failed + self.cancelled

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{status.value: getattr(self, status) + getattr(other, status) for status in Status})


Excerpt = Annotated[str, AfterValidator(lambda text: text[:500])]
"""The beginning of a foreign text."""


class FailureExample(Record):
    """One image that failed, or has a warning, of a code: its address and the reason, each cut to 500 characters."""

    uri: Excerpt
    reason: Excerpt

    @classmethod
    def of(cls, uri: Address, reason: str | None) -> Self:
        """The image as an example."""
        return cls(uri=uri, reason=reason or "")


ByCode = dict[str, tuple[int, FailureExample]]
"""How many images have a code, and one of them."""


class DeviceSeconds(Record):
    """What the thread that drives the model did from one commit to the next, in wall seconds.

    It was `busy` with the model, or it waited for images (`loading`) or for uploads (`storing`).
    """

    busy: float
    loading: float
    storing: float

    @property
    def total(self) -> float:
        """All three together."""
        return self.busy + self.loading + self.storing


class ShardReport(Record):
    """`reports/000017.json`: every outcome of a shard. The first one of each round counts, for good."""

    version: Literal[1] = VERSION
    job: JobId
    shard: Count
    round: Count = 0
    attempt: Count
    worker: str
    finished: datetime
    outcomes: tuple[Outcome, ...]
    device: DeviceSeconds | None = None

    def counts(self) -> Counts:
        """The shard's images by status."""
        statuses = [outcome.status for outcome in self.outcomes]
        return Counts(**{status.value: statuses.count(status) for status in Status})

    def failures(self) -> ByCode:
        """The failed images by code: how many, and the first one."""
        failed = (each for each in self.outcomes if each.status is Status.FAILED)
        return _by_code((each.code or "error", each.uri, each.reason) for each in failed)

    def warnings(self) -> ByCode:
        """The images with a warning by its code: how many, and the first one."""
        warned = ((each.uri, warning) for each in self.outcomes for warning in each.warnings or ())
        return _by_code((warning.code, uri, warning.reason) for uri, warning in warned)


def _by_code(found: Iterable[tuple[str, Address, str | None]]) -> ByCode:
    counted: ByCode = {}
    for code, uri, reason in found:
        number, example = counted.get(code, (0, None))
        counted[code] = number + 1, example or FailureExample.of(uri, reason)
    return counted


class JobState(StrEnum):
    """Where a job stands, in the words that the CLI prints."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed with failures"
    CANCELLED = "cancelled"


class Manifest(Record):
    """`manifest.json`: the job's closing account.

    found = submitted + left out, submitted = stored + reused + failed + cancelled.
    """

    version: Literal[1] = VERSION
    job: JobId
    state: JobState
    found: Count | None = None
    left_out: dict[str, Count] = {}
    left_out_examples: dict[str, str] = {}
    submitted: Count
    counts: Counts
    failures: dict[str, Count] = {}
    warnings: dict[str, Count] = {}
    examples: dict[str, FailureExample] = {}
    spec: Spec
    fingerprint: str
    model: ModelIdentity | None = None
    created: datetime
    finished: datetime
    reason: str | None = None


class Cancellation(Record):
    """`cancelled.json`: nobody begins a shard of this job any more in this retry round, and why."""

    version: Literal[1] = VERSION
    job: JobId
    cancelled: datetime
    reason: str


class Deletion(Record):
    """`deleting.json`: the job is being deleted, with its masks or without. Whoever finds it goes on."""

    version: Literal[1] = VERSION
    job: JobId
    created: datetime
    masks: bool


class RetryRound(Record):
    """`retries/0001.json`: failed images of these codes (None: of any) are tried once more. Rounds count from 1."""

    version: Literal[1] = VERSION
    job: JobId
    round: Annotated[int, Field(ge=1)]
    codes: tuple[str, ...] | None = None
    created: datetime

    def concerns(self, outcome: Outcome) -> bool:
        """Whether this image is tried again."""
        return outcome.status is Status.FAILED and (self.codes is None or outcome.code in self.codes)


def utc_now() -> datetime:
    """The time of this machine, for records; the ledger's leases use the broker's clock."""
    return datetime.now(UTC)


class JobStatus(Record):
    """Where a job stands now: `status --json`. `shards_claimed` are being worked on, `shards_queued` wait for it.

    `trouble` is what keeps the workers from going on with it now, such as a store that refuses its results. `files` are
    those that its model is made of (`ModelIdentity.files`), once a worker has loaded it.
    """

    job: JobId
    out: str
    state: JobState
    found: Count | None = None
    left_out: dict[str, Count] = {}
    submitted: Count
    counts: Counts
    failures: dict[str, Count] = {}
    warnings: dict[str, Count] = {}
    examples: dict[str, FailureExample] = {}
    shards: Count
    shards_done: Count
    shards_claimed: Count = 0
    shards_queued: Count = 0
    reason: str | None = None
    trouble: str | None = None
    files: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the job is closed."""
        return self.state is not JobState.RUNNING
