"""One black-and-white PNG a segment: what the stock pipeline gives, as files.

`masks/photos/cat/001_sofa.png` of `photos/cat.jpg`; `masks.jsonl` says of each file its image, label and score.
"""

from __future__ import annotations

import re

import numpy as np

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, as_json, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.png import write_png
from maskmill.schema import Segment

LISTED = "masks.jsonl"
NAME_CHARACTERS = 60


class Masks(Format):
    """Files below `masks/`, named by their image's stem."""

    takes = frozenset({"copy_images"})
    by_stem = True

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A file a segment, in the pipeline's order."""
        names = [segment_file("masks", image, segment) for segment in image.segments]
        for name, segment in zip(names, image.segments, strict=True):
            part.target.put(name, write_png(((image.ids == segment.id) * 255).astype(np.uint8)))
        self.put_copy(image, copy, "images", part)
        of_image = self.file_name(image, copy)
        for name, segment in zip(names, image.segments, strict=True):
            row = {"file_name": name, "image": of_image, "label": segment.title, "score": segment.score}
            part.line(LISTED, as_json(row))

    def finish(self, parts: Parts, target: Target) -> None:
        """The list of all files."""
        write(target, LISTED, parts.joined(LISTED, b""))


def segment_file(folder: str, image: LabelledImage, segment: Segment) -> str:
    """Where a file of one segment goes: `masks/photos/cat/001_traffic-light-red.png` of a `traffic light/red`."""
    label = re.sub(r"[^\w-]+", "-", segment.title)[:NAME_CHARACTERS].strip("-") or "segment"
    return f"{folder}/{image.stem}/{segment.id:03d}_{label}.png"


FORMAT = Masks
