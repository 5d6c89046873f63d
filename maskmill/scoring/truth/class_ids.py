"""A folder of PNGs whose pixels are numbers of classes, one beside or below for each image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from maskmill.errors import TruthUnusable
from maskmill.scoring.overlaps import Part, Side
from maskmill.scoring.scratch import Scratch, TrueImage
from maskmill.scoring.sides import ScoredClass, side, values
from maskmill.scoring.truth.truth import Fetched, Truth, decode_png, read_file

CLASSES = "classes.json"
UNLABELLED = frozenset({0, 255, 65535})
"""Pixels of these numbers are void where no class has them, as ADE20k, VOC and Cityscapes have it."""

NUMBERS = ("L", "P", "1", "I", "I;16")
"""Pillow's modes of PNGs whose pixels are numbers; a palette is left aside."""


@dataclass(frozen=True)
class ClassIds(Truth):
    """The folder, and the number in `classes` of each class id."""

    folder: Path
    numbers: Mapping[int, int] = field(default_factory=dict)
    kind: ClassVar[str] = "class-id PNGs"
    has_instances: ClassVar[bool] = False
    by_stem: ClassVar[bool] = True

    def fetch(self, image: TrueImage) -> Fetched:
        """A segment for each class; the same for pixels of no class as `UNLABELLED` says."""
        path = self.folder / f"{image.path}.png"
        return partial(self._decode, read_file(path), path)

    def _decode(self, data: bytes, path: Path) -> Side:
        png = decode_png(data, path)
        if png.mode not in NUMBERS:
            raise TruthUnusable(f"{path} holds colours ({png.mode}), not numbers of classes")
        ids = png.pixels.astype(np.int64) if png.mode == "1" else png.pixels
        parts = [(each, Part(self.numbers[each])) for each in values(ids) if each in self.numbers]
        return side(ids, parts, self.classes, UNLABELLED)


def open_class_ids(folder: Path, classes_file: Path | None, scratch: Scratch) -> ClassIds:
    """The truth of a folder; its PNGs are listed in the scratch file."""
    names = read_classes(classes_file or folder / CLASSES)
    paths = _pngs(folder)
    rows = ((path, path, path.rsplit("/", 1)[-1]) for path in paths)
    scratch.insert("INSERT INTO truth (id, path, last) VALUES (?, ?, ?)", rows)
    if not scratch.execute("SELECT count(*) FROM truth").fetchone()[0]:
        raise TruthUnusable(f"{folder} has no PNG")
    order = list(dict.fromkeys(names.values()))
    return ClassIds(
        tuple(ScoredClass(name, thing=False) for name in order),
        folder,
        {number: order.index(name) for number, name in names.items()},
    )


def _pngs(folder: Path) -> Iterator[str]:
    """Paths of all PNGs below the folder, without their extension."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(".png"):
                yield (Path(parent) / name[: -len(".png")]).relative_to(folder).as_posix()


def read_classes(path: Path) -> dict[int, str]:
    """The names by number: `{"0": "road"}`, `["road", "sky"]`, `[{"id": 0, "name": "road"}]`, or `{"id2label": …}`.

    Raises `TruthUnusable` for any other file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        names = _named(found)
        if not names or not all(isinstance(name, str) for name in names.values()):
            raise ValueError("no names")  # noqa: TRY301 - told with the others
    except OSError as error:
        raise TruthUnusable(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise TruthUnusable(f'{path} names no classes: write {{"0": "road", "1": "sky"}} or ["road", "sky"]') from error
    return names


def _named(found: Any) -> dict[int, str]:
    if isinstance(found, dict):
        for wrapped in ("id2label", "classes", "categories"):
            if wrapped in found:
                return _named(found[wrapped])
        return {int(number): name for number, name in found.items()}
    if all(isinstance(each, str) for each in found):
        return dict(enumerate(found))
    return {int(each["id"]): each["name"] for each in found}
