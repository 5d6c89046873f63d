"""Tables: `images/00000.parquet` with a row an image, `segments/00000.parquet` with a row a segment.

DuckDB, Polars and pandas read either. `datasets` finds its features in the schema of `images`, and both tables through
`README.md`. A segment's `rle` is what `pycocotools.mask.decode` takes, as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pyarrow as pa

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.account import ExportPlan
from maskmill.export.format import Format, check_pixels
from maskmill.export.parts import Part, Parts
from maskmill.export.tables import Rows, image_schema, segment_schema, write_table
from maskmill.export.target import Target
from maskmill.masks.png import write_png
from maskmill.masks.rle import coco_rle

IMAGES, SEGMENTS = "images", "segments"
BUFFERED_IMAGES, BUFFERED_BYTES = 100, 2**24
GROUP_IMAGES, GROUP_SEGMENTS = 1000, 50_000
FILE_BYTES = 400_000_000
"""A file that has so many ends; the last row group has at most 64 MiB, or one image: so none has 500 MB."""

MOST_IMAGES = 1_000_000
REPEATED = {IMAGES: ("file_name", "segments.list.element.label"), SEGMENTS: ("file_name", "label")}
"""Columns that repeat themselves: written as numbers in a dictionary."""

CARD = """\
---
configs:
- config_name: images
  default: true
  data_files: images/*.parquet
- config_name: segments
  data_files: segments/*.parquet
---
Masks of {job}, exported by Maskmill.
"""


class Parquet(Format):
    """Two tables in files of less than 500 MB, or of as many images as is said; images are in them where copied."""

    takes = frozenset({"copy_images", "image_root", "images_per_file"})

    def __init__(self, plan: ExportPlan) -> None:
        super().__init__(plan)
        self._schemas = {IMAGES: image_schema(with_bytes=plan.options.copy_images), SEGMENTS: segment_schema()}
        self._rows: dict[str, list[dict[str, Any]]] = {IMAGES: [], SEGMENTS: []}
        self._streams: dict[str, Any] = {}
        self._bytes = 0

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A row for the image, and one for each segment."""
        size, counts = [image.height, image.width], coco_rle(image.ids)
        check_pixels(image, counts)
        segments = [self.row_of(each) | {"rle": {"size": size, "counts": counts[each.id]}} for each in image.segments]
        of_image: dict[str, Any] = {
            "image_id": image.number,
            "file_name": self.file_name(image, copy),
            "uri": str(image.uri),
            "width": image.width,
            "height": image.height,
        }
        mask = write_png(image.ids)
        row = of_image | {"mask": {"bytes": mask, "path": f"{image.name}.png"}, "segments": segments}
        if copy:
            row["image"] = {"bytes": copy.data, "path": of_image["file_name"]}
            part.notes["turned_upright"] += copy.turned
        self._rows[IMAGES].append(row)
        self._rows[SEGMENTS] += [of_image | each for each in segments]
        self._bytes += len(mask) + sum(map(len, counts.values())) + len(copy.data if copy else b"")
        if len(self._rows[IMAGES]) >= BUFFERED_IMAGES or self._bytes >= BUFFERED_BYTES:
            self._flush(part)

    def end(self, part: Part) -> None:
        """The rest of the rows."""
        self._flush(part)
        for stream in self._streams.values():
            stream.close()

    def _flush(self, part: Part) -> None:
        for name, rows in self._rows.items():
            if name not in self._streams:
                self._streams[name] = pa.ipc.new_stream(part.open(name), self._schemas[name])
            if rows:
                self._streams[name].write_batch(pa.RecordBatch.from_pylist(rows, schema=self._schemas[name]))
            rows.clear()
        self._bytes = 0

    def finish(self, parts: Parts, target: Target) -> None:
        """Both tables, cut behind the same images, and what tells `datasets` of them."""
        images, segments = (Rows(parts.files(name), self._schemas[name]) for name in (IMAGES, SEGMENTS))
        for number in count():
            last: list[int] = []
            self._place(target, IMAGES, number, self._image_groups(images, last))
            self._place(target, SEGMENTS, number, _segment_groups(segments, max(last, default=0)))
            if images.ended:
                break
        target.put("README.md", CARD.format(job=self.plan.job).encode())

    def _place(self, target: Target, name: str, number: int, groups: Iterator[pa.Table]) -> None:
        path = target.work / "whole"
        write_table(path, self._schemas[name], REPEATED[name], groups)
        target.place(f"{name}/{number:05d}.parquet", path)

    def _image_groups(self, images: Rows, last: list[int]) -> Iterator[pa.Table]:
        """The row groups of one file; its last image's number goes to `last`."""
        left, size = self.options.images_per_file or MOST_IMAGES, 0
        while left and size < FILE_BYTES and (group := images.group(min(left, GROUP_IMAGES))):
            left, size = left - group.num_rows, size + group.nbytes
            last[:] = [group["image_id"][-1].as_py()]
            yield group


def _segment_groups(segments: Rows, last_image: int) -> Iterator[pa.Table]:
    while group := segments.group(GROUP_SEGMENTS, last_image):
        yield group


FORMAT = Parquet
