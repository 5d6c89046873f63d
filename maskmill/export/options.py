"""What a user asks of an export."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from maskmill.dataset.selection import Selection
from maskmill.errors import UsageError
from maskmill.schema import Record
from maskmill.suggest import did_you_mean
from maskmill.validation import wrong_field


class FormatName(StrEnum):
    """The formats that there are."""

    COCO_INSTANCES = "coco-instances"
    COCO_PANOPTIC = "coco-panoptic"
    PARQUET = "parquet"
    SEMANTIC = "semantic"
    LABEL_STUDIO = "label-studio"
    YOLO_SEG = "yolo-seg"
    MASKS = "masks"
    CUTOUT = "cutout"
    WEBDATASET = "webdataset"


class Layout(StrEnum):
    """Where COCO's files lie, for the tool that opens them."""

    PLAIN = "plain"
    CVAT = "cvat"
    ROBOFLOW = "roboflow"
    FIFTYONE = "fiftyone"


class ExportOptions(Record):
    """A format, which segments count, and what else is asked for; `export.json` has them all.

    `copy_images` brings the images, upright; without it files name them by their paths, below `image_root` if there is
    one. `polygons` writes rings where run lengths are not read; `parts` says whether the parts of a segment are one
    ring, `unlabelled` which pixel means no class.
    """

    format: FormatName
    selection: Selection = Selection()
    copy_images: bool = False
    image_root: str | None = None
    polygons: bool = False
    layout: Layout = Layout.PLAIN
    parts: Literal["join", "split"] = "join"
    unlabelled: Literal[0, 255] = 255
    images_per_file: Annotated[int, Field(ge=1)] | None = None


def parse_options(form: str, options: Mapping[str, Any]) -> ExportOptions:
    """What is asked for; raises `UsageError` for a format that there is not, and for options that are none."""
    if form not in set(FormatName):
        listed = ", ".join(FormatName)
        raise UsageError(f"there is no format {str(form)!r}{did_you_mean(form, FormatName)} (there are {listed})")
    try:
        return ExportOptions(format=FormatName(form), **options)
    except ValidationError as error:
        raise UsageError(": ".join(wrong_field(error))) from error


OPTIONS = {
    "copy_images": "--copy-images",
    "image_root": "--image-root",
    "polygons": "--polygons",
    "layout": "--layout",
    "parts": "--parts",
    "unlabelled": "--unlabelled",
    "images_per_file": "--images-per-file",
}
"""What only some formats take, as it is typed."""
