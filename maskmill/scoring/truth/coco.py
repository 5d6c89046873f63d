"""COCO files, panoptic and of instances, read as a stream into the scratch file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StrictInt, StrictStr, ValidationError

from maskmill.errors import TruthUnusable
from maskmill.scoring.scratch import Scratch
from maskmill.scoring.sides import ScoredClass
from maskmill.validation import wrong_field

CocoId = StrictInt | StrictStr
Length = Annotated[int, Field(ge=1, le=10**6)]


class CocoImage(BaseModel):
    """What is needed of an image; other fields are left aside, as in all of these."""

    id: CocoId
    file_name: str
    width: Length | None = None
    height: Length | None = None

    @property
    def path(self) -> str:
        """The file's name as a path, also if it was written on Windows."""
        return self.file_name.replace("\\", "/")


class CocoCategory(BaseModel):
    """A class; `isthing` is of panoptic files alone."""

    id: CocoId
    name: str
    isthing: bool | None = None


class CocoSegment(BaseModel):
    """One of a panoptic annotation's segments; its id has three bytes."""

    id: Annotated[int, Field(ge=1, lt=2**24)]
    category_id: CocoId
    iscrowd: bool = False


class PanopticAnnotation(BaseModel):
    """An image's PNG and segments."""

    image_id: CocoId
    file_name: str
    segments_info: list[CocoSegment]


class InstanceAnnotation(BaseModel):
    """One mask, in one of its forms."""

    image_id: CocoId
    category_id: CocoId
    segmentation: Any
    iscrowd: bool = False


Row = TypeVar("Row", bound=BaseModel)


def items(path: Path, array: str) -> Iterator[Any]:
    """The elements of one of the file's arrays: `items(path, "images")`."""
    import ijson

    with _opened(path) as file:
        try:
            yield from ijson.items(file, f"{array}.item", use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = str(error).partition("\n")[0]  # its next lines point at the place with spaces
            raise TruthUnusable(f"{path} is not JSON ({why})") from error


def rows(path: Path, array: str, kind: type[Row]) -> Iterator[Row]:
    """The same, of a kind; raises `TruthUnusable` at the first that is not."""
    for number, each in enumerate(items(path, array)):
        try:
            yield kind.model_validate(each)
        except ValidationError as error:
            field, expected = wrong_field(error)
            raise TruthUnusable(f"{path}: {array}[{number}]{f'.{field}' if field else ''}: {expected}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise TruthUnusable(f"{path} cannot be read: {error.strerror}") from error


class Categories:
    """The classes of a COCO file, and the number of each category id."""

    def __init__(self, path: Path, *, panoptic: bool) -> None:
        """Of instances all are things; in a panoptic file each category says what it is."""
        found = list(rows(path, "categories", CocoCategory))
        if not found:
            raise TruthUnusable(f"{path} has no categories")
        if panoptic and (silent := next((each.name for each in found if each.isthing is None), None)):
            raise TruthUnusable(f"{path}: category {silent!r} has no isthing")
        names = [each.name for each in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise TruthUnusable(f"{path}: two categories are called {twice!r}")
        self._path = path
        self.classes = tuple(ScoredClass(each.name, bool(each.isthing) if panoptic else True) for each in found)
        self._numbers = {each.id: number for number, each in enumerate(found)}

    def __getitem__(self, category_id: CocoId) -> int:
        """The number of a category's class."""
        if category_id not in self._numbers:
            raise TruthUnusable(f"{self._path}: no category has the id {category_id!r}, which an annotation has")
        return self._numbers[category_id]


def list_images(path: Path, scratch: Scratch) -> None:
    """Put the file's images into the scratch file."""
    scratch.insert(
        "INSERT OR IGNORE INTO truth (id, path, last, width, height) VALUES (?, ?, ?, ?, ?)",
        (
            (json.dumps(each.id), each.path, each.path.rsplit("/", 1)[-1], each.width, each.height)
            for each in rows(path, "images", CocoImage)
        ),
    )


def list_parts(path: Path, scratch: Scratch, parts: Iterable[tuple[CocoId, Any]]) -> None:
    """Put what is known of segments into it: the image's id, and a value for JSON."""
    scratch.insert(
        "INSERT INTO part (truth, content) VALUES ((SELECT key FROM truth WHERE id = ?), ?)",
        ((json.dumps(image), json.dumps(content)) for image, content in parts),
    )
    if lost := scratch.execute("SELECT count(*) FROM part WHERE truth IS NULL").fetchone()[0]:
        raise TruthUnusable(f"{path}: {lost:,} annotations are of images that it does not list")
