"""COCO instances: each segment with its run lengths, as CVAT, FiftyOne, supervision, detectron2 and others read them.

Fields as pycocotools wants them (cocodataset.org, format of the results and annotations).
"""

from __future__ import annotations

import json
from typing import Any

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, json_list, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.rle import coco_rle


class CocoInstances(Format):
    """`annotations.json`, and the images in `images/` where copies are asked for."""

    takes = frozenset({"copy_images", "image_root", "polygons", "layout", "images_per_file"})

    def begin(self, first_segment: int) -> None:
        """Annotations are numbered from 1 over the whole job."""
        self._next_id = first_segment + 1

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A row for the image, and one for each of its segments."""
        row = {
            "id": image.number + 1,
            "file_name": self.file_name(image, copy),
            "width": image.width,
            "height": image.height,
        }
        counts = coco_rle(image.ids)
        self.put_copy(image, copy, "images", part)
        part.item("images", _line(row))
        for segment in image.segments:
            annotation: dict[str, Any] = {
                "id": self._next_id,
                "image_id": image.number + 1,
                "category_id": self.category[segment.title].id,
                "segmentation": {"size": [image.height, image.width], "counts": counts[segment.id]},
                "area": segment.area,
                "bbox": segment.box,
                "iscrowd": 0,
            }
            if segment.score is not None:
                annotation["score"] = segment.score
            self._next_id += 1
            part.item("annotations", _line(annotation))

    def finish(self, parts: Parts, target: Target) -> None:
        """One file of everything."""
        write(target, "annotations.json", self._chunks(parts))

    def _chunks(self, parts: Parts) -> Any:
        categories = [{"id": each.id, "name": each.name, "supercategory": ""} for each in self.plan.categories]
        yield b'{"info":' + _line({"description": f"maskmill job {self.plan.job}"}) + b',"licenses":[],"categories":'
        yield _line(categories) + b',"images":'
        yield from json_list(parts, "images")
        yield b',"annotations":'
        yield from json_list(parts, "annotations")
        yield b"}\n"


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


FORMAT = CocoInstances
