"""`records.md`: the JSON that jobs leave in the bucket and in folders, from the records' own schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from docs.reference.markdown import code, docstring, head, table
from maskmill import schema
from maskmill.dataset.classes import Category
from maskmill.dataset.selection import NewName, Selection
from maskmill.export import options as export
from maskmill.export.account import ExportAccount, ExportPlan
from maskmill.export.options import ExportOptions
from maskmill.masks.segment_map import MaskHeader
from maskmill.schema import Record
from maskmill.scoring import scores

INTRODUCTION = """\
Each is one JSON object in UTF-8. Fields that are unset are left out; `--json` prints them as null. A field is never
renamed; new ones may come, and records of earlier versions can be read. Where each lies in the bucket:
[In the bucket](architecture.md#in-the-bucket). `metadata.jsonl` and `failures.jsonl` of a folder of results are tables,
with columns that are [always there](#in-a-folder-of-results).
"""
WHOLE = {
    "Jobs": (schema.JobRecord, schema.ModelIdentity, schema.ModelClasses, schema.Manifest),
    "Images": (schema.Reference, schema.ShardReport, schema.Outcome, MaskHeader),
    "In a folder of results": (schema.MaskRow, schema.FailureRow),
    "Marks": (schema.Cancellation, schema.RetryRound, schema.Deletion),
    "Status": (schema.JobStatus,),
    "Exports": (ExportAccount, ExportPlan, ExportOptions, Selection, NewName, Category),
    "Scores": (
        scores.Scores,
        scores.ScoredImages,
        scores.PanopticQuality,
        scores.AveragePrecision,
        scores.ClassScore,
        scores.ImageScore,
        scores.Confused,
        scores.Comparison,
        scores.ComparedImages,
        scores.ClassChange,
        scores.ImageChange,
    ),
    "Parts": (
        schema.Spec,
        schema.Execution,
        schema.Segment,
        schema.Counts,
        schema.Waiting,
        schema.ImageWarning,
        schema.ImageProblem,
        schema.FailureExample,
        schema.DeviceSeconds,
    ),
}
WORDS = {"integer": "whole number", "string": "text", "boolean": "true or false"}


FOLDER = (
    *("folder", "masks", "copied", "already_there", "removed", "not_copied", "problems"),
    *("overlays", "not_drawn", "overlay_problems"),
)


class Printed(NamedTuple):
    """The fields of each object that a command prints: of a record, and further ones."""

    record: type[Record] | None = None
    fields: tuple[str, ...] = ()
    note: str = ""

    @property
    def names(self) -> set[str]:
        """The fields that an object may have."""
        return {*self.fields, *(self.record.model_fields if self.record else ())}

    def __str__(self) -> str:
        parts = [*([_link(self.record.__name__)] if self.record else []), *map(code, self.fields)]
        return ", ".join(parts) + (f" ({self.note})" if self.note else "")


PRINTED = {
    "run": Printed(schema.JobStatus, (*FOLDER, "contact_sheet", "report", "report_problem")),
    "bench": Printed(
        None, ("images", "images_per_second", "device_busy", "device_seconds", "stages", "failures", "verdict")
    ),
    "submit": Printed(None, ("job", "out", "found", "images", "left_out", "shards")),
    "status JOB": Printed(schema.JobStatus),
    "status": Printed(schema.JobStatus, note="all of them in one array"),
    "watch": Printed(schema.JobStatus, note="whenever it has changed"),
    "results": Printed(schema.Outcome, note="of each image with a mask"),
    "results --download": Printed(None, ("job", "state", *FOLDER)),
    "failures": Printed(None, ("uri", "code", "reason"), "of each image that failed"),
    "export": Printed(ExportAccount, ("out",)),
    "score": Printed(scores.Scores),
    "compare": Printed(scores.Comparison),
    "report": Printed(None, ("report", "images", "pictures", "unreadable", "problems")),
    "retry": Printed(None, ("job", "images")),
    "cancel": Printed(schema.JobStatus),
    "resume": Printed(schema.JobStatus),
    "delete": Printed(None, ("job", "records", "bytes", "masks", "masks_kept")),
    "prune": Printed(None, ("jobs", "remains", "dry_run"), "`jobs` and `remains`: arrays as of `delete`"),
    "doctor": Printed(None, ("ok", "checks"), "each check: `check`, `ok`, `fatal`, `problem`"),
    "servers start": Printed(None, ("broker", "s3")),
    "servers status": Printed(None, ("running",)),
    "servers stop": Printed(None, ("stopped",)),
    "servers purge": Printed(None, ("freed_bytes",)),
}
"""What `--json` prints, by command; `tests/acceptance/test_json.py` compares it with what is printed."""


def page() -> str:
    """The whole page."""
    parts = [
        head("Records", "the records' schema (`maskmill/schema/`)"),
        INTRODUCTION,
    ]
    for title, records in WHOLE.items():
        parts.append(f"## {title}\n")
        for record in records:
            parts += _record(record)
    rows = ((code(f"maskmill {command}"), str(printed)) for command, printed in PRINTED.items())
    return "\n".join([*parts, "## What `--json` prints\n", table(("command", "the fields of each object"), rows)])


def _record(record: type[Any]) -> Iterator[str]:
    """A record of the schema, a field a row; its docstring says what the fields mean."""
    found = TypeAdapter(record).json_schema(mode="validation")
    yield f"### {record.__name__}\n"
    yield f"{docstring(record)}\n"
    required = set(found.get("required", ()))
    rows = ((code(name), _type(kind), _unless(name, kind, required)) for name, kind in found["properties"].items())
    yield table(("field", "type", "unless set"), rows)


def _unless(name: str, kind: dict[str, Any], required: set[str]) -> str:
    if name in required:
        return "always there"
    default = kind.get("default")
    return (
        "" if default in (None, [], {}) else code(str(default).lower() if isinstance(default, bool) else str(default))
    )


def _type(kind: dict[str, Any]) -> str:
    """`text`, `list of Segment`, `"auto"`… of a JSON schema; `null` is what every field that may be unset has."""
    if reference := kind.get("$ref"):
        return _link(reference.rpartition("/")[2])
    if choices := kind.get("anyOf"):
        return " or ".join(_type(each) for each in choices if each.get("type") != "null")
    if "const" in kind:
        return code(repr(kind["const"]).replace("'", '"'))
    match kind.get("type"):
        case "array" if "prefixItems" in kind:
            return f"list of {len(kind['prefixItems'])}: {_type(kind['prefixItems'][0])}"
        case "array":
            return f"list of {_type(kind['items'])}"
        case "object" if isinstance(of := kind.get("additionalProperties"), dict):
            return f"map of {_type(of)}"
        case "string" if kind.get("format") == "date-time":
            return "time (ISO 8601)"
        case str(name):
            return WORDS.get(name, name)
    return "any"


def _link(name: str) -> str:
    records = [record.__name__ for group in WHOLE.values() for record in group]
    if name in records:
        return f"[{name}](#{name.lower()})"
    return " or ".join(code(each.value) for each in (getattr(schema, name, None) or getattr(export, name)))
