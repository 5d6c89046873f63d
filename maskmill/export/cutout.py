"""One picture a segment: its pixels alone, upright, cropped to its box, the rest transparent.

`cutouts/photos/cat/001_sofa.png` of `photos/cat.jpg`; `cutouts.jsonl` says of each its image, label, score and box.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy, Original, is_turned
from maskmill.export.format import Format, as_json, write
from maskmill.export.masks import segment_file
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.segment_map import SegmentMap
from maskmill.schema import Segment

LISTED = "cutouts.jsonl"


@dataclass(frozen=True)
class Pieces(Copy):
    """An image's segments as PNGs, in their order."""

    pngs: tuple[bytes, ...]


class Cutout(Format):
    """Files below `cutouts/`, named by their image's stem. Needs the images, and copies none."""

    reads_images = True
    by_stem = True

    def read(self, image: LabelledImage, original: Original) -> Copy:
        """Cut out all segments, while the next images are read."""
        pixels = np.asarray(original.image.convert("RGB"))
        pngs = tuple(_cut(pixels, image.ids, segment) for segment in image.segments)
        return Pieces(b"", ".png", is_turned(original), pngs)

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A file a segment, in the pipeline's order."""
        pieces = cast("Pieces", copy)
        names = [segment_file("cutouts", image, segment) for segment in image.segments]
        for name, png in zip(names, pieces.pngs, strict=True):
            part.target.put(name, png)
        part.notes["turned_upright"] += pieces.turned
        for name, segment in zip(names, image.segments, strict=True):
            row = {
                "file_name": name,
                "image": image.name,
                "label": segment.title,
                "score": segment.score,
                "box": segment.box,
            }
            part.line(LISTED, as_json(row))

    def finish(self, parts: Parts, target: Target) -> None:
        """The list of all files."""
        write(target, LISTED, parts.joined(LISTED, b""))


def _cut(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], ids: SegmentMap, segment: Segment) -> bytes:
    """The box around a segment as RGBA; what is not of the segment is black under its transparency."""
    left, top, width, height = segment.box
    inside = ids[top : top + height, left : left + width] == segment.id
    cut = np.zeros((height, width, 4), np.uint8)
    cut[inside, :3] = pixels[top : top + height, left : left + width][inside]
    cut[inside, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(cut).save(buffer, "PNG")
    return buffer.getvalue()


FORMAT = Cutout
