"""What all kinds of truth are: classes, and a reader of single images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from maskmill.errors import TruthUnusable
from maskmill.masks.png import Decoded, read_png, why_unread
from maskmill.scoring.overlaps import Masks, Side
from maskmill.scoring.scratch import TrueImage
from maskmill.scoring.sides import ScoredClass


@dataclass(frozen=True)
class Truth(ABC):
    """A dataset that tells what is true; its images are listed in a scratch file.

    `has_instances` says whether things are told apart, `by_stem` that its files have the images' names with another
    extension.
    """

    classes: tuple[ScoredClass, ...]
    kind: ClassVar[str]
    has_instances: ClassVar[bool] = True
    by_stem: ClassVar[bool] = False

    @abstractmethod
    def read(self, image: TrueImage) -> Side | Masks | None:
        """What is true of the image; raises `TruthUnusable` for it alone, masks while they are gone through.

        None is for another job as the truth, where it has no mask of the image.
        """


def read_truth(path: Path) -> Decoded:
    """The PNG's pixels; raises `TruthUnusable`."""
    try:
        return read_png(path.read_bytes())
    except FileNotFoundError as error:
        raise TruthUnusable(f"{path} is missing") from error
    except Exception as error:  # what Pillow raises for broken files is no closed set
        raise TruthUnusable(f"{path} is not a whole PNG: {why_unread(error)}") from error
