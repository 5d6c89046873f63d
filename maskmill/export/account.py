"""`export.json`: what an export holds, and what it does not and why. Nothing in it changes when it is made again."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskmill.dataset.classes import Category
from maskmill.export.options import ExportOptions
from maskmill.schema import VERSION, ImageProblem, Record
from maskmill.schema.record import Count, JobId

ACCOUNT = "export.json"
NOT_EXPORTED = "not-exported.jsonl"
"""The images that are missing, with the reason; absent when there are none."""


class ExportPlan(Record):
    """What decides an export's every byte: who has the same plan goes on where another stopped."""

    job: JobId
    retry_round: Count
    contents: str | None = None
    options: ExportOptions
    categories: tuple[Category, ...]
    things_told_by: str


class ExportAccount(Record):
    """Masks of the job = `images` + `not_exported` + `repeated`.

    `without_mask` are the job's other images, by status. `segments_left_out` were not selected, by reason. `notes`
    count what was changed on the way: `stems_changed`, `stuff_fused`, `holes_filled`, `turned_upright`…
    """

    version: Literal[1] = VERSION
    plan: ExportPlan
    images: Count
    segments: Count
    not_exported: Count = 0
    repeated: Count = 0
    without_mask: dict[str, Count] = Field(default_factory=dict)
    segments_left_out: dict[str, Count] = Field(default_factory=dict)
    notes: dict[str, Count] = Field(default_factory=dict)
    problems: tuple[ImageProblem, ...] = ()
