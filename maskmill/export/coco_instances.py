"""COCO instances: each segment with its run lengths, as CVAT, FiftyOne, supervision, detectron2 and others read them.

Fields as pycocotools wants them (cocodataset.org, format of the results and annotations).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from maskmill.dataset.images import LabelledImage, plain_stem
from maskmill.dataset.originals import Copy
from maskmill.export.account import ExportPlan
from maskmill.export.coco import CocoFormat
from maskmill.export.format import as_json, check_pixels, write
from maskmill.export.options import Layout
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.masks.outline import Outline, outlines
from maskmill.masks.rle import coco_rle


class Places(NamedTuple):
    """Where a layout has its file and its images, and where each of several files, `{}` being its number."""

    file: str
    images: str
    numbered_file: str
    numbered_images: str


LAYOUTS = {
    Layout.PLAIN: Places("annotations.json", "images", "annotations_{}.json", "images"),
    Layout.CVAT: Places(
        "annotations/instances_default.json", "images/default", "annotations/instances_{}.json", "images/{}"
    ),
    Layout.ROBOFLOW: Places("train/_annotations.coco.json", "train", "{}/_annotations.coco.json", "{}"),
    Layout.FIFTYONE: Places("labels.json", "data", "{}/labels.json", "{}/data"),
}


class CocoInstances(CocoFormat):
    """One file for all images or for so many, and the images where the layout wants them if copies are asked for."""

    takes = frozenset({"copy_images", "image_root", "polygons", "layout", "images_per_file"})

    def __init__(self, plan: ExportPlan) -> None:
        super().__init__(plan)
        self.by_stem = self.options.layout is Layout.CVAT

    def begin(self, first_segment: int) -> None:
        """Annotations are numbered from 1 over the whole job."""
        self._next_id, self._file = first_segment + 1, 0

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """A row for the image, and one for each of its segments."""
        file = self._file_of(image, part)
        shapes, holes_filled = self._shapes(image)
        check_pixels(image, shapes)
        self.put_copy(image, copy, self._places(file).images, part)
        part.notes["holes_filled"] += holes_filled
        part.item(f"images-{file}", self.image_row(image, copy))
        if rows := list(self._annotations(image, shapes)):
            part.item(f"annotations-{file}", as_json(rows)[1:-1])

    def file_name(self, image: LabelledImage, copy: Copy | None) -> str:
        """CVAT reads through Datumaro, which refuses a file in which two images have one stem (RepeatedItemError)."""
        name = super().file_name(image, copy)
        if copy or not self.by_stem or image.stem == plain_stem(image.name):
            return name
        return f"{name.removesuffix(image.name)}{image.stem}{PurePosixPath(image.name).suffix}"

    def _file_of(self, image: LabelledImage, part: Part) -> int:
        """Which file the image is in, from its place in the job: so a shard knows without the others."""
        file = image.number // self.options.images_per_file if self.options.images_per_file else 0
        if file != self._file:
            part.close(f"images-{self._file}")
            part.close(f"annotations-{self._file}")
        self._file = file
        return file

    def _places(self, file: int) -> Places:
        places = LAYOUTS[self.options.layout]
        if not self.options.images_per_file:
            return places
        number = f"{file + 1:04d}"
        return places._replace(file=places.numbered_file.format(number), images=places.numbered_images.format(number))

    def _shapes(self, image: LabelledImage) -> tuple[Mapping[int, object], int]:
        """Each segment's `segmentation`, by its id, and how many holes are filled in them."""
        if not self.options.polygons:
            size = [image.height, image.width]
            return {each: {"size": size, "counts": counts} for each, counts in coco_rle(image.ids).items()}, 0
        found = outlines(image.ids)
        holes = sum(len(outline.holes) for outline in found.values())
        return {each: _polygons(outline) for each, outline in found.items()}, holes

    def _annotations(self, image: LabelledImage, shapes: Mapping[int, object]) -> Iterator[dict[str, Any]]:
        for segment in image.segments:
            annotation: dict[str, Any] = {
                "id": self._next_id,
                "image_id": image.number + 1,
                "category_id": self.category[segment.title].id,
                "segmentation": shapes[segment.id],
                "area": segment.area,
                "bbox": segment.box,
                "iscrowd": 0,
            }
            if segment.score is not None:
                annotation["score"] = segment.score
            self._next_id += 1
            yield annotation

    def finish(self, parts: Parts, target: Target) -> None:
        """One file of everything, or one for each run of images."""
        categories = [{"id": each.id, "name": each.name, "supercategory": ""} for each in self.plan.categories]
        for file in parts.numbers("images-") or [0]:
            whole = self.dataset(parts, categories, f"images-{file}", f"annotations-{file}")
            write(target, self._places(file).file, whole)


def _polygons(outline: Outline) -> list[list[int]]:
    """The parts' outer rings: a list of polygons has no word for holes (cocodataset/cocoapi#153)."""
    return [ring.reshape(-1).tolist() for ring in outline.outer]


FORMAT = CocoInstances
