"""One class map an image: `masks/photos/cat.png` of `photos/cat.jpg`, pixel = class, 255 = none.

The convention of Cityscapes' train ids and of mmsegmentation, Ultralytics and FiftyOne; with `--unlabelled 0` that of
ADE20k, where 0 is no class and classes count from 1. Values are class numbers and never colours: readers that go
through OpenCV take a palette's colours for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.colours import colour_of
from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.account import ExportPlan
from maskmill.export.format import Format, as_json, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.png import write_png

LISTED = "masks.jsonl"


class Semantic(Format):
    """Maps below `masks/` mirror the images' paths; `classes.json` and `palette.json` say what the pixels mean."""

    takes = frozenset({"copy_images", "unlabelled"})
    by_stem = True

    def __init__(self, plan: ExportPlan) -> None:
        super().__init__(plan)
        by_label, from_one = plan.options.selection.category_ids == "label", plan.options.unlabelled == 0
        self.values = {name: (each.id if by_label else each.index) + from_one for name, each in self.category.items()}
        highest = max(self.values.values(), default=0)
        self._bits = 8 if highest < 255 + from_one else 16
        self.unlabelled = 0 if from_one else 2**self._bits - 1

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """One map, and its line in the list."""
        name = f"masks/{image.stem}.png"
        part.target.put(name, write_png(self._classes_of(image)))
        self.put_copy(image, copy, "images", part)
        part.line(LISTED, as_json({"file_name": name, "image": self.file_name(image, copy)}))

    def _classes_of(self, image: LabelledImage) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """H × W, pixel = class."""
        table = np.full(int(image.ids.max(initial=0)) + 1, self.unlabelled)
        for segment in image.segments:
            table[segment.id] = self.values[segment.title]
        classes = table.take(image.ids)
        return classes.astype(np.uint8) if self._bits == 8 else classes.astype(np.uint16)

    def finish(self, parts: Parts, target: Target) -> None:
        """The list of maps and what their pixels mean."""
        write(target, LISTED, parts.joined(LISTED, b""))
        names = {str(value): name for name, value in self.values.items()}
        target.put("classes.json", as_json({"unlabelled": self.unlabelled, "classes": names}) + b"\n")
        target.put("palette.json", as_json({value: colour_of(name) for value, name in names.items()}) + b"\n")
        plain = self.values == {each.name: each.index for each in self.plan.categories}
        if self.options.copy_images and plain and self.unlabelled == 255:
            target.put("data.yaml", as_json(self._data_yaml()) + b"\n")

    def _data_yaml(self) -> dict[str, Any]:
        """What Ultralytics trains by, in the part of YAML that is JSON."""
        names = {each.index: each.name for each in self.plan.categories}
        return {"train": "images", "val": "images", "masks_dir": "masks", "names": names}


FORMAT = Semantic
