"""Tables of Arrow: their schemas, and the rows of all shares in row groups and files of bounded size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_BYTES = 64 * 2**20
"""Of a row group before it is compressed; readers hold one at a time."""

FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""As `datasets` has an image in a row."""

RLE = pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])

SEGMENT = pa.struct([
    ("id", pa.int32()), ("label", pa.string()), ("label_id", pa.int32()), ("category_id", pa.int32()),
    ("score", pa.float64()), ("area", pa.int64()), ("bbox", pa.list_(pa.int32(), 4)), ("rle", RLE),
])  # fmt: skip

IMAGE = [
    ("image_id", pa.int64()), ("file_name", pa.string()), ("uri", pa.string()), ("width", pa.int32()),
    ("height", pa.int32()),
]  # fmt: skip


def image_schema(*, with_bytes: bool) -> pa.Schema:
    """A row an image: its segment map as PNG, its segments, and its own file if that is wanted."""
    files = [(name, FILE) for name in ("image", "mask") if with_bytes or name == "mask"]
    schema = pa.schema([*files, *IMAGE, ("segments", pa.list_(SEGMENT))])
    features = {each.name: _feature(each.type) for each in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def segment_schema() -> pa.Schema:
    """A row a segment, with what its image is."""
    return pa.schema([*IMAGE, *SEGMENT])


def _feature(kind: pa.DataType) -> Any:
    """A type as `datasets` names it, in the words that its versions of before 4 know, too."""
    if kind == FILE:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {each.name: _feature(each.type) for each in kind}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    return {"dtype": "float64" if pa.types.is_float64(kind) else str(kind), "_type": "Value"}


class Rows:
    """The rows of one table in the shares' files, in order."""

    def __init__(self, paths: Sequence[Path], schema: pa.Schema) -> None:
        self.schema = schema
        self._batches = _batches(paths)
        self._batch: pa.RecordBatch | None = next(self._batches, None)

    @property
    def ended(self) -> bool:
        """Whether all are taken."""
        return self._batch is None

    def group(self, most: int, last_image: int | None = None) -> pa.Table | None:
        """The next rows for one row group, none of an image behind the last one; None if there are none."""
        taken: list[pa.RecordBatch] = []
        rows = size = 0
        while rows < most and size < GROUP_BYTES and (some := self._take(most - rows, last_image)):
            taken.append(some)
            rows, size = rows + some.num_rows, size + some.nbytes
        return pa.Table.from_batches(taken, self.schema) if taken else None

    def _take(self, most: int, last_image: int | None) -> pa.RecordBatch | None:
        here = self._batch
        if here is None:
            return None
        if last_image is not None:
            most = min(most, int(np.searchsorted(here["image_id"].to_numpy(), last_image, "right")))
        if most < here.num_rows:
            self._batch = here.slice(most)
            return here.slice(0, most) if most else None
        self._batch = next(self._batches, None)
        return here


def _batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            yield from (batch for batch in stream if batch.num_rows)


def write_table(path: Path, schema: pa.Schema, repeated: Sequence[str], groups: Iterator[pa.Table]) -> None:
    """A file of these row groups. `repeated` columns are numbers of a dictionary there; no time is in it."""
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=list(repeated), write_page_index=True
    ) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=group.num_rows)
