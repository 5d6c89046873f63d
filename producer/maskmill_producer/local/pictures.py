"""The images of a job's results read once more, from where they are, each with its mask from a folder of results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from maskmill.addresses import Address
from maskmill.dataset.originals import Originals
from maskmill.job import Job
from maskmill.masks.segment_map import MaskHeader, SegmentMap
from maskmill.masks.segment_map import decode as decode_mask
from maskmill.schema import JobRecord
from maskmill.settings import Settings


@dataclass(frozen=True)
class Mask:
    """A mask file that was read: its segment map and its header."""

    ids: SegmentMap
    header: MaskHeader

    @classmethod
    def read(cls, path: Path) -> Mask:
        """Raises `InvalidRecord` for a file that is none of our masks, and `OSError`."""
        return cls(*decode_mask(path.read_bytes()))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.ids.shape[1], self.ids.shape[0]


class Pictures:
    """Reads images as the job's workers did. Local files are read by this user's own rights: nothing leaves here."""

    def __init__(self, settings: Settings, record: JobRecord) -> None:
        self.root = (record.root or "").rstrip("/") + "/"
        self.originals = Originals(settings, record)

    @classmethod
    def of(cls, job: Job) -> Pictures:
        """Those of a job in its store."""
        return cls(job.services.settings, job.record())

    def read(self, uri: Address, mask: Mask) -> Image.Image:
        """The image that the mask is of, upright as the mask is; raises an `ImageError` or `StoreUnavailable`."""
        return self.originals.read(uri, mask.size, mask.header.image_version).image

    def name_of(self, uri: str) -> str:
        """How an image is called for people: its path below the job's root, else its address."""
        return uri.removeprefix(self.root) if self.root != "/" else uri
