"""The images of a job's results read once more, from where they are, and what they are called for people."""

from __future__ import annotations

from PIL import Image

from maskmill.addresses import Address
from maskmill.dataset.originals import Originals
from maskmill.job import Job
from maskmill.masks.segment_map import Mask
from maskmill.schema import JobRecord
from maskmill.settings import Settings


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
        return self.originals.read(uri, mask).image

    def name_of(self, uri: str) -> str:
        """How an image is called for people: its path below the job's root, else its address."""
        return uri.removeprefix(self.root) if self.root != "/" else uri
