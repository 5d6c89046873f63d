"""What every format is: what it takes, what it makes of an image, and of all shares at the end."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from importlib import import_module
from typing import Any, ClassVar

from maskmill.dataset.classes import Category
from maskmill.dataset.images import LabelledImage, plain_stem
from maskmill.dataset.originals import Copy, Original, copy_of
from maskmill.errors import InvalidRecord, UsageError
from maskmill.export.account import ExportPlan
from maskmill.export.options import OPTIONS, ExportOptions, FormatName
from maskmill.export.parts import Part, Parts
from maskmill.export.target import Target
from maskmill.schema import Segment
from maskmill.schema.rows import LINE_BREAKS


class Format(ABC):
    """One format, for one export. It is made anew in each process, and keeps nothing from image to image.

    `takes` names the fields of `ExportOptions` that mean something to it.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    by_stem: bool = False
    """Whether its files are paired with images by their stems."""
    reads_images: ClassVar[bool] = False
    """Whether it is made of the images' own pixels, whether copies are asked for or not."""

    def __init__(self, plan: ExportPlan) -> None:
        self.plan, self.options = plan, plan.options
        self.category: dict[str, Category] = {each.name: each for each in plan.categories}

    def begin(self, first_segment: int) -> None:  # noqa: B027 - most formats need nothing
        """Before a shard's first image; `first_segment` counts the segments of the shards before it."""

    def read(self, image: LabelledImage, original: Original) -> Copy:
        """What `add` gets of an image that is read; called in a thread, beside others."""
        return copy_of(original, image.name)

    @abstractmethod
    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """Add one image, whose mask has been read (`image.ids`); `copy` is what `read` gave, where images are read.

        Whatever may fail for this image alone comes before anything is written.
        """

    def end(self, part: Part) -> None:  # noqa: B027 - most formats need nothing
        """After a shard's last image."""

    @abstractmethod
    def finish(self, parts: Parts, target: Target) -> None:
        """Make the files of the whole from all shards' shares."""

    def file_name(self, image: LabelledImage, copy: Copy | None) -> str:
        """What files call the image: its path, below `--image-root` if there is one; of a copy its name."""
        if copy:
            return _copy_name(image, copy, by_stem=self.by_stem)
        root = self.options.image_root
        return f"{root.rstrip('/')}/{image.name}" if root else image.name

    def row_of(self, segment: Segment) -> dict[str, Any]:
        """A segment in tables of our own: as it is stored, with its category; `bbox` is (x, y, width, height)."""
        return {
            "id": segment.id,
            "label": segment.title,
            "label_id": segment.label_id,
            "category_id": self.category[segment.title].id,
            "score": segment.score,
            "area": segment.area,
            "bbox": segment.box,
        }

    def put_copy(self, image: LabelledImage, copy: Copy | None, folder: str, part: Part) -> None:
        """Write the copy, if there is one, below a folder such as `images`."""
        if copy:
            part.target.put(f"{folder}/{self.file_name(image, copy)}".lstrip("/"), copy.data)
            part.notes["turned_upright"] += copy.turned


def _copy_name(image: LabelledImage, copy: Copy, *, by_stem: bool) -> str:
    """The image's own name if its extension says what is in it, and its stem is its own where that counts."""
    own = image.name.endswith(copy.suffix) and (not by_stem or image.stem == plain_stem(image.name))
    return image.name if own else f"{image.stem}{copy.suffix}"


MODULES = {each: each.value.replace("-", "_") for each in FormatName}


def format_of(plan: ExportPlan) -> Format:
    """The format that a plan asks for; its module is imported now."""
    kind = _kind(plan.options.format)
    made: Format = kind(plan)
    return made


def check_options(options: ExportOptions) -> None:
    """Raise `UsageError` for an option that means nothing to the format."""
    takes = _kind(options.format).takes
    for field, option in OPTIONS.items():
        if field not in takes and getattr(options, field) != ExportOptions.model_fields[field].default:
            raise UsageError(f"{option} means nothing to {options.format}{_who_takes(field)}")


def _who_takes(field: str) -> str:
    others = [each.value for each in FormatName if field in _kind(each).takes]
    return f"; it is for {', '.join(others)}" if others else ""


def _kind(name: FormatName) -> type[Format]:
    module = import_module(f"maskmill.export.{MODULES[name]}")
    kind: type[Format] = module.FORMAT
    return kind


def write(target: Target, name: str, chunks: Iterable[bytes]) -> None:
    """Write one of the whole's files from blocks."""
    path = target.work / "whole"
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    target.place(name, path)


def check_pixels(image: LabelledImage, found: Container[int]) -> None:
    """Raise `InvalidRecord` for a mask in which a segment of its own list has no pixel: readers fail for such ids."""
    for segment in image.segments:
        if segment.id not in found:
            raise InvalidRecord(f"{image.outcome.mask_key} has no pixel of its segment {segment.id}", "")


def as_json(value: object) -> bytes:
    """One line of JSON in UTF-8, whatever texts are in it: half of a surrogate pair becomes `?`.

    What Python takes for the end of a line, and JSON does not, is escaped.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(LINE_BREAKS).encode(errors="replace")
