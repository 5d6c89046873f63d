"""`overlays/`: for each mask a picture of its image with the segments drawn over it; none that is not of its mask.

They are made where the results are wanted, from the image and its mask, not by the worker: it has no pixels left by
then, and its time is the dear one. Images that cannot be read from here are counted, and named with the reason.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError

from maskmill.cores import usable_cores
from maskmill.errors import ImageError, ImageOutOfMemory, InvalidRecord, UsageError
from maskmill.job import Job
from maskmill.machine import ONE_NAME
from maskmill.masks.segment_map import MaskHeader, decode
from maskmill.result import Result
from maskmill.schema import PROBLEMS_KEPT, ImageProblem
from maskmill.storage.ahead import map_ahead
from maskmill_producer.local.folder import OVERLAYS, Folder, Unplaceable, header_of
from maskmill_producer.local.pictures import Pictures
from maskmill_producer.local.replacement import drop_empty
from maskmill_producer.report.overlay import LARGE_PIXELS, overlay

QUALITY = 90
STYLE = 1
"""Of the drawing; another number has all overlays drawn anew."""

THREADS = min(4, usable_cores())
NO_PICTURE = (UnidentifiedImageError, Image.DecompressionBombError)


@dataclass
class Drawn:
    """What was done: overlays drawn, there already, and those that could not be, the first of them with reasons."""

    drawn: int = 0
    there: int = 0
    not_drawn: int = 0
    problems: list[ImageProblem] = field(default_factory=list)

    @property
    def overlays(self) -> int:
        """Overlays of the job in the folder now."""
        return self.drawn + self.there


def draw_overlays(job: Job, path: Path) -> Drawn:
    """Draw an overlay for each of the job's masks in a folder of its results; one that is there already stays.

    `draw_overlays(job, Path("masks")).overlays`

    Raises `UsageError` when the folder cannot be written.
    """
    result, pictures, large = Drawn(), Pictures.of(job), Lock()

    def draw(found: Result) -> bool | ImageProblem | None:
        try:
            return _draw(folder, pictures, found, large)
        except (ImageError, InvalidRecord, Unplaceable) as error:
            return ImageProblem.of(found.uri, error)
        except MemoryError:
            return ImageProblem.of(found.uri, ImageOutOfMemory(f"{found.uri}: takes more memory than there is"))

    try:
        with Folder.open(path) as folder:
            for each in map_ahead(draw, job.results(reveal=True), THREADS):
                if isinstance(each, ImageProblem):
                    result.not_drawn += 1
                    result.problems += [each][: PROBLEMS_KEPT - len(result.problems)]
                elif each is not None:
                    result.drawn += each
                    result.there += not each
    except OSError as error:
        raise UsageError(
            f"cannot write to {path} ({error.strerror or error}): mend that, and run the same again"
        ) from error
    return result


def _draw(folder: Folder, pictures: Pictures, found: Result, large: Lock) -> bool | None:
    """Whether an overlay was drawn, or was there; None for an image whose mask is not in the folder."""
    target, of_mask = folder.overlay_of(found.mask_key), folder.path_of(found.mask_key)
    try:
        header = header_of(of_mask)
        if header is None:
            return None
        if _mark_in(target) == _mark(header):
            return False
        outcome = found.outcome
        with large if (outcome.width or 0) * (outcome.height or 0) > LARGE_PIXELS else nullcontext():
            mask = decode(of_mask.read_bytes())
            picture = overlay(pictures.read(found.uri, mask), mask.ids, mask.header.segments)
        data = BytesIO()
        picture.save(data, "JPEG", quality=QUALITY, comment=_mark(header))
        folder.put(target, data.getvalue())
    except OSError as error:
        if error.errno not in ONE_NAME:
            raise
        raise Unplaceable(f"{target} cannot be written: {error.strerror}") from error
    return True


def drop_stale_overlays(folder: Folder) -> None:
    """Remove the overlays that are not of the mask beside them; what is none of ours stays."""
    for path in _files(folder.root / OVERLAYS):
        mark = _mark_in(path)
        if mark is None:
            continue
        header = header_of(folder.masks / path.relative_to(folder.root / OVERLAYS).with_suffix(".png"))
        if header is None or mark != _mark(header):
            path.unlink()
            drop_empty(path.parent, folder.root)


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder) / name for name in names)


def _mark(header: MaskHeader) -> bytes:
    """What an overlay's comment has: that it is ours, and of which mask."""
    return b"maskmill overlay %d of %s" % (STYLE, hashlib.sha256(header.to_json()).hexdigest()[:32].encode())


def _mark_in(path: Path) -> bytes | None:
    """The comment of an overlay; None for anything else."""
    try:
        if path.is_symlink():
            return None
        with Image.open(path, formats=("JPEG",)) as image:
            comment = image.info.get("comment")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, *NO_PICTURE):
        return None
    return comment if isinstance(comment, bytes) and comment.startswith(b"maskmill overlay ") else None
