"""What becomes of the images of a shard: references, outcomes, reports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_serializer
from pydantic.dataclasses import dataclass

from maskmill.addresses import Address
from maskmill.errors import MaskmillError
from maskmill.schema.record import STRICT, VERSION, Count, Excerpt, JobId, MaskKey, Record


class Reference(Record):
    """Where one image is, and the key (below the output prefix) of the mask that it will get.

    `uri` is an absolute local path, an `http(s)://`, `s3://bucket/key` or `data:` address, what lies in a file,
    `zip://a.jpg::/data/photos.zip`, or in the results' store, `memory://DIGEST?s3://…`. A job's shards alone hold it
    whole, with its passwords and signatures: workers fetch by it. With a `problem` it is the name of an entry that
    gives no image, and fails with it. `input` is the number of the input that it is of, where a Python program gave
    several.
    """

    uri: Address
    mask_key: MaskKey
    problem: str | None = None
    input: Count | None = None

    @field_serializer("uri")
    def _whole(self, uri: Address) -> str:
        return uri.reveal()


def reference_line(uri: str, mask_key: str, problem: str | None = None, input_number: int | None = None) -> str:
    """The text of `Reference(uri=…, mask_key=…).to_json()`, at an eighth of its cost: a job may have millions."""
    more = f',"problem":{encode_basestring(problem)}' if problem else ""
    if input_number is not None:
        more += f',"input":{input_number}'
    return f'{{"uri":{encode_basestring(uri)},"mask_key":{encode_basestring(mask_key)}{more}}}'


Text = Annotated[str, AfterValidator(lambda text: text.encode(errors="replace").decode())]
"""A foreign text as UTF-8 can hold it: half of a surrogate pair, which JSON can escape, becomes `?`."""


# No `Record`: a shard has thousands of them, and a model takes four times the memory and twice the time to read.
@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Segment:
    """One region of one image.

    `id` is the pixel value in the segment map (from 1), `area` in pixels, `box` is COCO's
    (x, y, width, height) in pixels. `score` is None for semantic segments, as in the pipeline. `label` is what the
    model's `id2label` has: a text, in some models a number or nothing.
    """

    id: Annotated[int, Field(ge=1)]
    label: Text | int | float | None = None
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


PROBLEMS_KEPT = 10
"""Images that an answer names; files and numbers have them all."""


class ImageProblem(Record):
    """An image that has no part in what was made of a job's results (a copy, an export, a score), and why."""

    uri: str
    code: str
    reason: str

    @classmethod
    def of(cls, uri: str, error: MaskmillError) -> Self:
        """The image, with what the error says."""
        return cls(uri=str(uri), code=error.code, reason=str(error))

    @property
    def text(self) -> str:
        """The image and the reason, which may name it already."""
        return self.reason if self.reason.startswith(self.uri) else f"{self.uri}: {self.reason}"


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

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Self:
        """How many of these images have which status."""
        statuses = [outcome.status for outcome in outcomes]
        return cls(**{status.value: statuses.count(status) for status in Status})

    @property
    def total(self) -> int:
        """Images that have an outcome."""
        return self.stored + self.reused + self.failed + self.cancelled

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{status.value: getattr(self, status) + getattr(other, status) for status in Status})


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
    """What the model's time was spent on from one commit to the next, in wall seconds.

    It was `busy`, or it waited for images (`loading`) or for uploads (`storing`).
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
        return Counts.of(self.outcomes)

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
