"""A job's account as a table of Arrow or pandas: a row an image, or a row a segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from maskmill.errors import UsageError
from maskmill.jobs.outcomes import Paired
from maskmill.schema import Outcome, Reference, Segment

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Rows = Literal["images", "segments"]

IMAGE = {"uri": "string", "input": "int64"}
MASK = {"mask": "string"}
SEGMENT = {"id": "int32", "label": "string", "label_id": "int64", "score": "float64", "area": "int64"}
BOX = {f"box_{name}": "int32" for name in ("x", "y", "width", "height")}
ACCOUNT = {"status": "string", "code": "string", "reason": "string", "width": "int32", "height": "int32"}


def to_arrow(out: str, shards: Iterable[Sequence[Paired]], rows: Rows) -> pa.Table:
    """The table of outcomes beside their references, made shard by shard: Python objects of few are in memory."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UsageError("to_arrow needs pyarrow: pip install pyarrow") from error
    if rows not in ("images", "segments"):
        raise UsageError(f"rows: there are 'images' and 'segments', not {rows!r}")
    schema = _schema(rows)
    of_shard = _images if rows == "images" else _segments
    batches = (pa.RecordBatch.from_pylist(list(of_shard(out, shard)), schema) for shard in shards)
    return pa.Table.from_batches(batches, schema)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """The same for pandas, whose whole numbers may be missing, too."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("to_pandas needs pandas: pip install 'maskmill[pandas]'") from error
    import pyarrow as pa

    whole = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
    return table.to_pandas(types_mapper=whole.get)


def _schema(rows: Rows) -> pa.Schema:
    import pyarrow as pa

    fields: dict[str, Any] = IMAGE | MASK | SEGMENT | BOX
    if rows == "images":
        fields = IMAGE | ACCOUNT | MASK | {"segments": pa.list_(pa.struct(list((SEGMENT | BOX).items())))}
    return pa.schema(list(fields.items()))


def _images(out: str, shard: Sequence[Paired]) -> Iterator[dict[str, Any]]:
    for outcome, reference in shard:
        row = outcome.model_dump(include=set(ACCOUNT), mode="json")
        segments = [_segment(each) for each in outcome.segments] if outcome.segments is not None else None
        yield _image(out, outcome, reference) | row | {"segments": segments}


def _segments(out: str, shard: Sequence[Paired]) -> Iterator[dict[str, Any]]:
    for outcome, reference in shard:
        image = _image(out, outcome, reference)
        yield from (image | _segment(each) for each in outcome.segments or ())


def _image(out: str, outcome: Outcome, reference: Reference | None) -> dict[str, Any]:
    mask = f"{out}/{outcome.mask_key}" if outcome.has_mask else None
    return {"uri": str(outcome.uri), "input": reference.input if reference else None, "mask": mask}


def _segment(segment: Segment) -> dict[str, Any]:
    label = None if segment.label is None else str(segment.label)
    fields = {name: getattr(segment, name) for name in SEGMENT}
    return fields | {"label": label} | dict(zip(BOX, segment.box, strict=True))
