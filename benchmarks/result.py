"""What a benchmark found: figures with their settings, ratios against bars, peak memory; as JSON and as a table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Figure(BaseModel):
    """One measured side. `settings` says how it was run; `peak_bytes` is the peak resident memory of its processes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float
    unit: str
    settings: str
    peak_bytes: Annotated[int, Field(ge=0)] | None = None


class Comparison(BaseModel):
    """One ratio of two figures of the same run, and the bar that it must reach (`at least`) or stay under."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float
    bar: float
    sense: Literal["at least", "at most"] = "at least"
    unit: str = "×"

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar


class Result(BaseModel):
    """One benchmark's outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    figures: list[Figure]
    comparisons: list[Comparison]
    notes: list[str] = []


class Kept(BaseModel):
    """A result as it is kept in `results/<letter>.json`, with what it was measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    letter: str
    title: str
    command: str
    date: str
    seconds: float
    machine: dict[str, str]
    result: Result
