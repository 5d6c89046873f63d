"""The pictures of a gallery: a small JPEG of the image, and its segments as run lengths of the same size.

The page draws segments over the picture by itself: it may read no pixels of a file, so masks are texts (COCO's).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from maskmill.errors import ImageOutOfMemory, MaskmillError, StoreUnavailable
from maskmill.masks.rle import coco_rle
from maskmill.masks.segment_map import Mask, SegmentMap
from maskmill.schema import Outcome, Segment
from maskmill_producer.report.overlay import LARGE_PIXELS, shrunk
from maskmill_producer.report.page.scripts import write_script
from maskmill_producer.report.page.source import Numbered, Source

SIDE = 480
"""Pixels of a picture's longer side."""

QUALITY = 80
IN_FOLDER = 1000
"""Pictures in one folder of the file system."""

MEASURED = 3
"""One of so many pictures is of the images with the lowest scores; the others are spread over the job."""


@dataclass(frozen=True)
class Drawn:
    """What became of one picture; `problem` says why its image is not on it."""

    number: int
    uri: str
    problem: MaskmillError | None = None


def sample(images: Iterable[Numbered], wanted: int, masks: int) -> list[Numbered]:
    """So many of the images that have a mask: some spread evenly over all, and those with the lowest scores.

    Takes in all images and keeps no more than it returns. All are kept where there are no more than wanted.
    """
    lowest, spread = wanted // MEASURED, wanted - wanted // MEASURED
    unsure: list[tuple[float, int, Outcome]] = []
    chosen: dict[int, Outcome] = {}
    for place, (number, outcome) in enumerate(images):
        if masks <= wanted or place * spread % masks < spread:
            chosen[number] = outcome
        elif (score := _lowest_score(outcome)) is not None and lowest:
            push = heapq.heappush if len(unsure) < lowest else heapq.heappushpop
            push(unsure, (-score, -number, outcome))
    chosen |= {-minus: outcome for _, minus, outcome in unsure}
    return [Numbered(number, chosen[number]) for number in sorted(chosen)]


def draw(folder: Path, source: Source, large: Lock, found: Numbered) -> Drawn:
    """Write an image's picture and masks; without the image, or without either, what there is and the reason."""
    pixels = (found.outcome.width or 0) * (found.outcome.height or 0)
    with large if pixels > LARGE_PIXELS else nullcontext():
        return _draw(folder, source, found)


def _draw(folder: Path, source: Source, found: Numbered) -> Drawn:
    number, outcome = found
    place = picture_path(folder, number)
    place.parent.mkdir(parents=True, exist_ok=True)
    mask, problem = _mask(source, outcome)
    if mask:
        problem = _draw_image(place.with_suffix(".jpg"), source, outcome, mask)
    small = _small_ids(mask.ids if mask else np.zeros((0, 0), np.uint8), outcome.segments or ())
    said = f"{problem.code}: {problem}" if problem else ""
    masks = [[number, counts] for number, counts in coco_rle(small).items()]
    write_script(place.with_suffix(".js"), "masks", number, small.shape[1], small.shape[0], masks, said)
    return Drawn(number, outcome.uri, problem)


def _mask(source: Source, outcome: Outcome) -> tuple[Mask | None, MaskmillError | None]:
    """The mask, or the reason why there is none. A store that is away ends the report."""
    try:
        return source.mask(outcome), None
    except StoreUnavailable:
        raise
    except MaskmillError as error:
        return None, error


def _draw_image(path: Path, source: Source, outcome: Outcome, mask: Mask) -> MaskmillError | None:
    try:
        picture = _small(source.image(outcome, mask))
    except MaskmillError as error:
        return error
    except MemoryError:
        return ImageOutOfMemory(f"{outcome.uri}: takes more memory than there is")
    picture.save(path, "JPEG", quality=QUALITY)
    return None


def picture_path(folder: Path, number: int) -> Path:
    """`pictures/00012/012345` of the image 12345, without the ending."""
    return folder / f"{number // IN_FOLDER:05d}" / f"{number:06d}"


def _lowest_score(outcome: Outcome) -> float | None:
    return min((each.score for each in outcome.segments or () if each.score is not None), default=None)


def _small(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    return shrunk(image, scale) if scale < 1 else image


def _small_ids(ids: SegmentMap, segments: Iterable[Segment]) -> SegmentMap:
    """The map in the picture's size; a segment that falls between the pixels keeps one of its own."""
    height, width = ids.shape
    scale = SIDE / max(height, width, 1)
    if scale >= 1:
        return ids
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: SegmentMap = np.array(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    there = set(np.unique(small).tolist())
    for each in segments:
        if each.id not in there and each.area and each.id <= np.iinfo(small.dtype).max:
            row, column = _some_pixel(ids, each)
            small[min(size[1] - 1, int(row * scale)), min(size[0] - 1, int(column * scale))] = each.id
    return small


def _some_pixel(ids: SegmentMap, segment: Segment) -> tuple[int, int]:
    """Row and column of a pixel of the segment; of its box's corner for one that the map does not have."""
    x, y, width, height = segment.box
    rows, columns = np.nonzero(ids[y : y + height, x : x + width] == segment.id)
    return (y + int(rows[0]), x + int(columns[0])) if rows.size else (y, x)
