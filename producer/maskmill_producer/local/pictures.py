"""The images of a job's results read once more, from where they are, each with its mask from a folder of results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from maskmill.errors import ImageError
from maskmill.images.decode import decode as decode_image
from maskmill.images.fetch import Fetcher
from maskmill.job import Job
from maskmill.masks.segment_map import MaskHeader, SegmentMap
from maskmill.masks.segment_map import decode as decode_mask
from maskmill.result import Result


class ImageChanged(ImageError):
    """The image is not the one that was segmented: its file has changed since, or is another one on this machine."""

    code = "image_changed"
    cure = "Submit the images again; draw overlays where the images are those that were segmented."


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

    def __init__(self, job: Job) -> None:
        settings, record = job.services.settings, job.record()
        self.max_pixels, self.scale = settings.max_image_pixels, record.spec.scale
        self.root = (record.root or "").rstrip("/") + "/"
        self.fetcher = Fetcher.of(settings, access=replace(settings.access, roots=None, buckets=None))

    def read(self, result: Result, mask: Mask) -> Image.Image:
        """The image that the mask is of, upright as the mask is; raises an `ImageError` or `StoreUnavailable`."""
        download = self.fetcher.download(result.uri)
        if mask.header.image_version and download.version != mask.header.image_version:
            raise ImageChanged(f"{result.uri}: has changed since it was segmented")
        image = decode_image(download.data or b"", max_pixels=self.max_pixels, scale=self.scale).image
        if image.size != mask.size:
            raise ImageChanged(f"{result.uri}: is {image.size} pixels large, and its mask {mask.size}")
        return image

    def name_of(self, uri: str) -> str:
        """How an image is called for people: its path below the job's root, else its address."""
        return uri.removeprefix(self.root) if self.root != "/" else uri
