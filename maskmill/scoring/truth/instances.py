"""COCO instances: masks as polygons or run lengths, which may overlap; a crowd is a region of uncounted members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from maskmill.errors import TruthUnusable, UsageError
from maskmill.masks.rle import decoded
from maskmill.scoring.overlaps import Mask, Masks, Part
from maskmill.scoring.scratch import Scratch, TrueImage
from maskmill.scoring.truth.coco import Categories, CocoId, InstanceAnnotation, list_images, list_parts, rows
from maskmill.scoring.truth.truth import Fetched, Truth


@dataclass(frozen=True)
class Instances(Truth):
    """All classes are things."""

    kind: ClassVar[str] = "COCO instances"

    def fetch(self, image: TrueImage) -> Fetched:
        """The masks of the image's annotations, decoded one after the other: they are in the scratch file."""
        return partial(self._decode, image)

    def _decode(self, image: TrueImage) -> Masks:
        if not (image.height and image.width):
            raise TruthUnusable(f"{image.path}: the truth says neither its width nor its height")
        size = image.height, image.width
        found = [json.loads(part) for part in image.parts]
        parts = [Part(category, crowd) for category, crowd, _ in found]
        return Masks(size, _masks([each for _, _, each in found], size, image.path), parts)


def open_instances(path: Path, scratch: Scratch) -> Instances:
    """The truth of a file; its images are listed in the scratch file."""
    categories = Categories(path, panoptic=False)
    list_images(path, scratch)
    list_parts(path, scratch, _parts(path, categories))
    return Instances(categories.classes)


def _parts(path: Path, categories: Categories) -> Iterator[tuple[CocoId, Any]]:
    for each in rows(path, "annotations", InstanceAnnotation):
        yield each.image_id, (categories[each.category_id], each.iscrowd, each.segmentation)


def _masks(segmentations: list[Any], size: tuple[int, int], name: str) -> Iterator[Mask]:
    for segmentation in segmentations:
        try:
            mask = pixels(segmentation, *size)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise TruthUnusable(f"{name}: a mask of it cannot be read ({error})") from error
        yield mask


def pixels(segmentation: Any, height: int, width: int) -> Mask:
    """The pixels of COCO's three forms: polygons, run lengths as a text, and run lengths as numbers.

    Raises `ValueError` for what is none, and `UsageError` where polygons need `maskmill[score]`.
    """
    if isinstance(segmentation, list):
        return _of_polygons(segmentation, height, width)
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"it is of {segmentation['size']}, the image of {[height, width]} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return decoded(counts, height, width)
    lengths = np.array(counts, np.int64)
    if lengths.min(initial=0) < 0 or lengths.sum() != height * width:
        raise ValueError(f"runs of {lengths.sum()} pixels for an image of {width} × {height}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def _of_polygons(polygons: list[Any], height: int, width: int) -> Mask:
    """The union of the polygons, by pycocotools: which pixels of a border are inside is its own rule."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise UsageError("truth with polygons needs pycocotools: pip install 'maskmill[score]'") from error
    if not polygons:
        return np.zeros((height, width), bool)
    if any(len(each) < 6 or len(each) % 2 for each in polygons):
        raise ValueError("a polygon has three points or more, and two numbers for each")
    found: Mask = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
    return found
