"""What all kinds of truth are: classes, and a reader of single images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from maskmill.errors import TruthUnusable
from maskmill.masks.png import Decoded, read_png, why_unread
from maskmill.scoring.overlaps import Masks, Side
from maskmill.scoring.scratch import TrueImage
from maskmill.scoring.sides import ScoredClass

Fetched: TypeAlias = Callable[[], Side | Masks | None]
"""What is true of an image, once it is decoded; None where another job is the truth, and has no mask of the image."""


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
    def fetch(self, image: TrueImage) -> Fetched:
        """Fetch what says what is true of the image, in a thread; the answer decodes it, for who goes through it.

        Both raise `TruthUnusable` for the image alone, masks while they are gone through.
        """


def read_file(path: Path) -> bytes:
    """The file's bytes; raises `TruthUnusable`."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise TruthUnusable(f"{path} is missing") from error
    except OSError as error:
        raise TruthUnusable(f"{path} cannot be read: {error.strerror}") from error


def decode_png(png: bytes, path: Path) -> Decoded:
    """The pixels of this file; raises `TruthUnusable`."""
    try:
        return read_png(png)
    except Exception as error:  # what Pillow raises for broken files is no closed set
        raise TruthUnusable(f"{path} is not a whole PNG: {why_unread(error)}") from error
