"""What a benchmark found: figures with their settings, ratios against bars, peak memory; as JSON and as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
    """A benchmark as it is kept in `<letter>.json`: what it found, or why it found nothing, and what it ran on.

    `reduced`: a quick run, whose figures are no benchmark's result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    letter: str
    title: str
    command: str
    date: str
    seconds: float
    machine: dict[str, str]
    reduced: bool = False
    result: Result | None = None
    failed: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.result is None) == (self.failed is None):
            raise ValueError(f"benchmark {self.letter} has either a result or a reason why it has none")
        return self

    def save(self, folder: Path) -> None:
        """Write the JSON file, in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{self.letter}.json"
        draft.write_text(
            json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        draft.replace(folder / f"{self.letter}.json")
