"""COCO panoptic: a PNG an image whose colours are segment ids, stuff in one segment a category.

As panopticapi, hotcoco, Datumaro and CVAT read it (cocodataset.org, format of panoptic annotations): id = red + 256 ×
green + 65,536 × blue, 0 is no segment, and the ids of the file's list are those of its PNG, no more and no fewer. Where
an export has no thing at all, or no stuff, panopticapi divides by zero: `images_without_things` counts images then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.dataset.classes import Category
from maskmill.dataset.fuse import fused
from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.coco import CocoFormat
from maskmill.export.format import as_json, check_pixels, write
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.png import write_png
from maskmill.masks.segment_map import SegmentMap

FOLDER = "annotations/panoptic_default"
"""Datumaro, and so CVAT, finds the subset `default` there; other readers are told."""


class CocoPanoptic(CocoFormat):
    """`annotations/panoptic_default.json`, PNGs in the folder of that name, copies of images in `images/default/`.

    A PNG has its image's stem, as Mask2Former and mmdetection suppose.
    """

    takes = frozenset({"copy_images", "image_root"})
    by_stem = True

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A PNG, a row for the image, and one with its segments, of which there may be none."""
        check_pixels(image, set(np.flatnonzero(np.bincount(image.ids.reshape(-1))).tolist()))
        ids, segments = fused(image.ids, image.segments, self.category)
        name = f"{image.stem}.png"
        part.target.put(f"{FOLDER}/{name}", write_png(_colours(ids)))
        self.put_copy(image, copy, "images/default", part)
        part.notes["stuff_fused"] += len(image.segments) - len(segments)
        things = [self.category[segment.title].thing for segment in segments]
        part.notes["images_without_things"] += not any(things)
        part.notes["images_without_stuff"] += all(things)
        infos = []
        for segment in segments:
            info: dict[str, Any] = {
                "id": segment.id,
                "category_id": self.category[segment.title].id,
                "area": segment.area,
                "bbox": segment.box,
                "iscrowd": 0,
            }
            if segment.score is not None:
                info["score"] = segment.score
            infos.append(info)
        part.item("images", self.image_row(image, copy))
        part.item("annotations", as_json({"image_id": image.number + 1, "file_name": name, "segments_info": infos}))

    def finish(self, parts: Parts, target: Target) -> None:
        """One file of everything."""
        whole = self.dataset(parts, map(_row, self.plan.categories), "images", "annotations")
        write(target, f"{FOLDER}.json", whole)


def _colours(ids: SegmentMap) -> NDArray[np.uint8]:
    colours = np.zeros((*ids.shape, 3), np.uint8)
    colours[..., 0] = ids & 0xFF
    if ids.itemsize > 1:
        colours[..., 1] = ids >> 8
    return colours


def _row(category: Category) -> dict[str, object]:
    return {
        "id": category.id,
        "name": category.name,
        "supercategory": "",
        "isthing": int(category.thing),
        "color": _colour(category.index + 1),
    }


def _colour(number: int) -> list[int]:
    """PASCAL VOC's colour of a class: its bits dealt out to red, green and blue, the lowest to the highest places."""
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return channels


FORMAT = CocoPanoptic
