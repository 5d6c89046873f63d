"""YOLO segmentation, as Ultralytics reads it: a text an image, a row a segment: class, then x and y of each point.

Rows are closed rings of one part without holes, in shares of the image's size. Ultralytics truncates them to pixels and
fills them with cv2.fillPoly, which draws the border too. So rings go through the centres of a segment's own pixels, and
come back as the very segment (IoU 1.000; rings along pixel edges give 0.93); see `maskmill/masks/seams.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, check_pixels, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.outline import Ring, outlines
from maskmill.masks.seams import joined, part_rings

LEAST_PIXELS = 10
"""Ultralytics takes images that are narrower or lower for broken ones (ultralytics/data/utils.py: verify_image)."""

_UNFIT_FOR_YAML = re.compile("[^ -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd]")


class YoloSeg(Format):
    """`data.yaml`, `labels/photos/cat.txt`, and `images/photos/cat.jpg` where copies are asked for.

    `--parts join` makes one ring of a segment in parts; `split` writes a row a part, each an object of its own.
    """

    takes = frozenset({"copy_images", "parts"})
    by_stem = True

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """The image's labels; one without any is background."""
        notes = Counter(smaller_than_10_pixels=int(min(image.width, image.height) < LEAST_PIXELS))
        rows = "".join(self._rows(image, notes))
        part.target.put(f"labels/{image.stem}.txt", rows.encode())
        self.put_copy(image, copy, "images", part)
        part.notes.update(notes)

    def _rows(self, image: LabelledImage, notes: Counter[str]) -> Iterator[str]:
        found = outlines(image.ids)
        check_pixels(image, found)
        across, down = _centres(image.width), _centres(image.height)
        for segment in image.segments:
            rings = part_rings(image.ids, segment.id, found[segment.id])
            if len(rings) > 1:
                notes["in_parts"] += 1
                rings = [joined(rings)] if self.options.parts == "join" else rings
            for ring in rings:
                notes["one_pixel_wide"] += bool(min(np.ptp(ring, axis=0)) == 0)
                yield f"{self.category[segment.title].index}{_points(ring, across, down)}\n"

    def finish(self, parts: Parts, target: Target) -> None:
        """What the training command is given."""
        del parts
        write(target, "data.yaml", [_data_yaml([each.name for each in self.plan.categories]).encode()])


@lru_cache(maxsize=16)
def _centres(size: int) -> list[str]:
    """The middle of each pixel as a share of so many, behind a space: of two, 0.25 and 0.75."""
    return [f" {(pixel + 0.5) / size:.6f}" for pixel in range(size)]


def _points(ring: Ring, across: list[str], down: list[str]) -> str:
    return "".join(across[x] + down[y] for x, y in ring.tolist())


def _data_yaml(names: list[str]) -> str:
    """Without a `path`: Ultralytics takes the folder that the file is in."""
    classes = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(names))
    return (
        "# Images to train on and to validate with: the same, until some are set aside.\n"
        f"train: images\nval: images\nnames:\n{classes}"
    )


def _quoted(name: str) -> str:
    """A text in YAML: JSON is, but for what YAML has no raw place for."""
    return _UNFIT_FOR_YAML.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(name, ensure_ascii=False))


FORMAT = YoloSeg
