"""The lines of a folder of results, for programs that are not ours: each has every column, and no column two types.

Readers take the types of columns from the first lines (Polars: 100, DuckDB: 20,480, `datasets`: 10 MB), so what most
images have not is an empty text here, never null in one line and a list in the next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import ConfigDict

from maskmill.addresses import Address
from maskmill.errors import InvalidRecord, one_line
from maskmill.schema.outcome import ImageWarning, Outcome, Segment, Status
from maskmill.schema.record import Count, MaskKey, Record

ROWS: Literal[1] = 1
"""The version of the columns; lines of before, which were outcomes, have none."""

NEXT_WARNING = "; "
"""Stands between two warnings, and in none."""

LINE_BREAKS = str.maketrans({each: f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"})
"""What JSON leaves as it is, and `str.splitlines` takes for the end of a line."""


class Row(Record):
    """A line of a table. Columns that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore")

    def to_line(self) -> bytes:
        """The row with all its columns, null or not, in their order; its end is the only line break."""
        return self.model_dump_json().translate(LINE_BREAKS).encode() + b"\n"


class MaskRow(Row):
    """`metadata.jsonl` in a folder of results: an image with a mask a line. Every line has every column.

    `file_name` is the mask, as a path from the folder; `mask_key` its key in the bucket. `segments` are the outcome's
    with all their fields. Their `label` is always a text: `cat`, `17`, and `label 3` where the model has none for it.
    All scores of a job are numbers, or all are null (semantic segmentation). `scale` are the values that became black
    and white, as `--scale` takes them: `0.0:65535.0`. `warnings` are codes with reasons: `first_frame: the first of 30
    frames; …`. Both are empty for most images. Lines are in the order of submission, except that the first one with
    segments comes first where the 100 before it have none.
    """

    file_name: str
    uri: Address
    mask_key: MaskKey
    status: Status
    width: Count | None
    height: Count | None
    segments: tuple[Segment, ...]
    scale: str
    warnings: str
    fingerprint: str
    schema_version: Literal[1] = ROWS

    @classmethod
    def of(cls, outcome: Outcome, file_name: str) -> Self:
        """The row of an image whose mask lies in the folder under this name."""
        return cls(
            file_name=file_name,
            uri=outcome.uri,
            mask_key=outcome.mask_key or "",
            status=outcome.status,
            width=outcome.width,
            height=outcome.height,
            segments=tuple(_with_text(each) for each in outcome.segments or ()),
            scale=":".join(map(str, outcome.scale or ())),
            warnings=NEXT_WARNING.join(_in_words(each) for each in outcome.warnings or ()),
            fingerprint=outcome.fingerprint or "",
        )

    @property
    def outcome(self) -> Outcome:
        """What became of the image; its labels are texts."""
        low, _, high = self.scale.partition(":")
        found = (text.partition(": ") for text in self.warnings.split(NEXT_WARNING) if text)
        return Outcome(
            uri=self.uri,
            status=self.status,
            mask_key=self.mask_key,
            fingerprint=self.fingerprint,
            width=self.width,
            height=self.height,
            segments=self.segments,
            scale=(float(low), float(high)) if self.scale else None,
            warnings=tuple(ImageWarning(code=code, reason=reason) for code, _, reason in found) or None,
        )


class FailureRow(Row):
    """`failures.jsonl` in a folder of results: an image that failed a line, with its code and reason."""

    uri: Address
    status: Status
    code: str
    reason: str
    schema_version: Literal[1] = ROWS

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """The row of an image that failed."""
        return cls(uri=outcome.uri, status=outcome.status, code=outcome.code or "error", reason=outcome.reason or "")

    @property
    def outcome(self) -> Outcome:
        """What became of the image."""
        return Outcome(uri=self.uri, status=self.status, code=self.code, reason=self.reason)


def outcome_in(line: bytes) -> Outcome:
    """What a line of either file tells; those of earlier versions were outcomes themselves.

    Raises `InvalidRecord` for any other line. A quote inside of a text is escaped, so none can pass for a name.
    """
    if b'"schema_version":' not in line:
        return Outcome.from_json(line)
    row = MaskRow.from_json(line) if b'"mask_key":' in line else FailureRow.from_json(line)
    try:
        return row.outcome
    except ValueError as error:
        raise InvalidRecord(f"not a {type(row).__name__}: {one_line(error)}", line.decode()) from error


def _in_words(warning: ImageWarning) -> str:
    return f"{warning.code}: {warning.reason.replace(NEXT_WARNING, ', ')}"


def _with_text(segment: Segment) -> Segment:
    return segment if isinstance(segment.label, str) else replace(segment, label=segment.title)
