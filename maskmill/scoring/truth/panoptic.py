"""COCO panoptic: a JSON file, and a folder of PNGs whose pixels are segment ids, R + 256 G + 65536 B; 0 is void."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from maskmill.errors import TruthUnusable
from maskmill.scoring.overlaps import Ids, Part, Side
from maskmill.scoring.scratch import Scratch, TrueImage
from maskmill.scoring.sides import side
from maskmill.scoring.truth.coco import Categories, CocoId, PanopticAnnotation, list_images, list_parts, rows
from maskmill.scoring.truth.truth import Fetched, Truth, decode_png, read_file

ID_BITS = 0xFFFFFF
VOID = frozenset({0})


@dataclass(frozen=True)
class Panoptic(Truth):
    """The file, and the folder of its PNGs."""

    folder: Path
    kind: ClassVar[str] = "COCO panoptic"

    def fetch(self, image: TrueImage) -> Fetched:
        """The segments of the image's PNG."""
        if len(image.parts) != 1:
            raise TruthUnusable(f"{image.path} has {len(image.parts)} annotations in the truth; it needs one")
        name, segments = json.loads(image.parts[0])
        path = self.folder / name
        return partial(self._decode, read_file(path), path, segments)

    def _decode(self, png: bytes, path: Path, segments: Iterable[tuple[int, int, bool]]) -> Side:
        parts = ((each, Part(category, crowd)) for each, category, crowd in segments)
        return side(decode_ids(png, path), parts, self.classes, VOID)


def decode_ids(data: bytes, path: Path) -> Ids:
    """The segment ids of a PNG; raises `TruthUnusable`."""
    png = decode_png(data, path)
    if png.mode not in ("RGB", "RGBA"):
        raise TruthUnusable(f"{path} is {png.mode}, not RGB: ids of COCO panoptic are R + 256 G + 65536 B")
    height, width, channels = png.pixels.shape
    ids = np.empty(height * width, "<u4")
    # Four bytes at each pixel are its own and one of the next, which the last one has not.
    np.bitwise_and(np.ndarray(len(ids) - 1, "<u4", png.pixels, strides=channels), np.uint32(ID_BITS), out=ids[:-1])
    ids[-1:].view(np.uint8)[:] = [*png.pixels[-1, -1, :3], 0]
    return ids.reshape(height, width)


def open_panoptic(path: Path, scratch: Scratch) -> Panoptic:
    """The truth of a file; its images are listed in the scratch file."""
    categories = Categories(path, panoptic=True)
    list_images(path, scratch)
    list_parts(path, scratch, _parts(path, categories))
    return Panoptic(categories.classes, _folder_of(path))


def _parts(path: Path, categories: Categories) -> Iterator[tuple[CocoId, Any]]:
    for each in rows(path, "annotations", PanopticAnnotation):
        segments = [(of.id, categories[of.category_id], of.iscrowd) for of in each.segments_info]
        yield each.image_id, (each.file_name, segments)


def _folder_of(path: Path) -> Path:
    """Where the PNGs are: in the folder that has the file's name, as panopticapi has it, or beside the file."""
    beside, first = path.with_suffix(""), next(rows(path, "annotations", PanopticAnnotation))
    with suppress(OSError):  # no file can have such a name
        for folder in (beside, path.parent):
            if (folder / first.file_name).exists():
                return folder
    raise TruthUnusable(f"{path}: its PNG {first.file_name} is neither in {beside}/ nor beside the file")
