"""What all stored records have in common: immutable, strict, and told when they are of a newer Maskmill."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from maskmill.errors import InvalidRecord, NewerRecord, one_line
from maskmill.storage import keys

VERSION: Literal[1] = 1

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

Count = Annotated[int, Field(ge=0)]

JobId = Annotated[str, Field(pattern=f"^{keys.JOB_ID.pattern}$")]

MaskKey = Annotated[str, Field(pattern=keys.MASK_KEY, max_length=keys.MAX_MASK_KEY)]

Excerpt = Annotated[str, AfterValidator(lambda text: text[:500])]
"""The beginning of a foreign text."""


STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
"""A foreign text is noticed, and not shown whole."""

UNKNOWN_FIELD = {"extra_forbidden", "unexpected_keyword_argument"}
"""How pydantic calls a field that a model, or a dataclass, does not have."""


class Record(BaseModel):
    """Base of all records: immutable, and strict about unknown fields so that a foreign text is noticed."""

    model_config = STRICT | ConfigDict(frozen=True)

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
    if {each["type"] for each in error.errors(include_url=False)} <= UNKNOWN_FIELD:
        return True
    try:
        found = json.loads(text)
    except ValueError:
        return False
    version = found.get("version", found.get("schema_version")) if isinstance(found, dict) else None
    return isinstance(version, int) and version > VERSION


def utc_now() -> datetime:
    """The time of this machine, for records; the ledger's leases use the broker's clock."""
    return datetime.now(UTC)
