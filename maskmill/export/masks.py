"""One black-and-white PNG a segment: what the stock pipeline gives, as files.

`photos/cat/001_sofa.png` of `photos/cat.jpg`; `masks.jsonl` says of each file its image, label and score.
"""

from __future__ import annotations

import json
import re

import numpy as np

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.png import write_png

LISTED = "masks.jsonl"
NAME_CHARACTERS = 60


class Masks(Format):
    """Files below `masks/`, named by their image's stem."""

    takes = frozenset({"copy_images"})
    by_stem = True

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A file a segment, in the pipeline's order."""
        file_name = self.file_name(image, copy)
        for segment in image.segments:
            name = f"masks/{image.stem}/{segment.id:03d}_{_in_a_name(segment.title)}.png"
            part.target.put(name, write_png(((image.ids == segment.id) * 255).astype(np.uint8)))
            row = {"file_name": name, "image": file_name, "label": segment.title, "score": segment.score}
            part.item(LISTED, json.dumps(row, ensure_ascii=False).encode(), b"\n")
        self.put_copy(image, copy, "images", part)

    def finish(self, parts: Parts, target: Target) -> None:
        """The list of all files."""
        write(target, LISTED, (*parts.joined(LISTED, b"\n"), b"\n"))


def _in_a_name(label: str) -> str:
    """A label as part of a file's name: `traffic light/red` is `traffic-light-red`."""
    return re.sub(r"[^\w-]+", "-", label)[:NAME_CHARACTERS].strip("-") or "segment"


FORMAT = Masks
