"""The images of a job read once more, from where they are, as the job's workers did; and copies of them, upright."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from PIL import ExifTags, Image

from maskmill.errors import ImageError
from maskmill.images.decode import decode
from maskmill.images.fetch import Fetcher
from maskmill.masks.segment_map import Mask
from maskmill.schema import JobRecord
from maskmill.settings import Settings

KEPT = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
"""What every tool reads: copied as it is where it is upright, 8-bit and named for what it holds."""

KEPT_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK"}
QUALITY = 95


class ImageChanged(ImageError):
    """The image is not the one that was segmented: its file has changed since, or is another one on this machine."""

    code = "image_changed"
    cure = "Submit the images again; draw overlays and copy images where they are those that were segmented."


@dataclass(frozen=True)
class Original:
    """An image's file, and its pixels as the model saw them: upright, 8-bit RGB."""

    data: bytes
    image: Image.Image


@dataclass(frozen=True)
class Copy:
    """A file to put beside masks: `suffix` is what its content asks for; `turned` if it was not upright."""

    data: bytes
    suffix: str
    turned: bool


class Originals:
    """Reads images by this user's own rights, whatever workers may: nothing leaves here. Make one in each process."""

    def __init__(self, settings: Settings, record: JobRecord) -> None:
        self._max_pixels, self._scale = settings.max_image_pixels, record.spec.scale
        self._fetcher = Fetcher.of(settings, access=replace(settings.access, roots=None, buckets=None))

    def read(self, uri: str, mask: Mask) -> Original:
        """The image of this address (with its secrets) that the mask is of: as large, and in the version it names.

        Raises an `ImageError`, `ImageChanged` among them, or `StoreUnavailable`.
        """
        download = self._fetcher.download(uri)
        if mask.header.image_version and download.version != mask.header.image_version:
            raise ImageChanged(f"{uri}: has changed since it was segmented")
        data = download.data or b""
        image = decode(data, max_pixels=self._max_pixels, scale=self._scale).image
        if image.size != mask.size:
            raise ImageChanged(f"{uri}: is {image.size} pixels large, and its mask {mask.size}")
        return Original(data, image)


def copy_of(original: Original, name: str) -> Copy:
    """The file as it is if every tool reads it and shows it upright, else one made of its pixels.

    cv2 and browsers turn a photograph by its EXIF block, plain PIL and skimage do not: upright, all see the same.
    """
    kind, mode, turned = _facts(original.data)
    if kind in KEPT and mode in KEPT_MODES and not turned:
        suffix = PurePosixPath(name).suffix
        return Copy(original.data, suffix if suffix.lower() in KEPT[kind] else KEPT[kind][0], turned=False)
    buffer = io.BytesIO()
    if kind == "JPEG":
        original.image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        return Copy(buffer.getvalue(), ".jpg", turned)
    original.image.save(buffer, "PNG", compress_level=1)
    return Copy(buffer.getvalue(), ".png", turned)


def is_turned(original: Original) -> bool:
    """Whether the file is not upright as it is, and its EXIF block says so."""
    return _facts(original.data)[2]


def _facts(data: bytes) -> tuple[str, str, bool]:
    """Format, mode and whether the EXIF block turns it; only of formats that may be kept, the others are decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(KEPT)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            return image.format or "", image.mode, orientation != 1
    except Exception:  # noqa: BLE001 - what Pillow raises is no closed set; the decoder has read it already
        return "", "", False
