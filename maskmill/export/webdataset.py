"""Tar files of samples, for training that reads them one after the other.

A sample is `000000017.seg.png` (the segment map), `000000017.json` and, with copies, `000000017.jpg`. Keys are the
images' numbers in the job: a key ends at the first dot of a name. Every image is a `.jpg`, whatever it holds, since
`datasets` wants the same extensions of all samples, and Pillow looks at what is in a file.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import chain

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, as_json, write
from maskmill.export.parts import Part, Parts
from maskmill.export.split import in_files
from maskmill.export.target import Target
from maskmill.masks.png import write_png

SAMPLES, SIZES = "samples", "sizes"
SAMPLES_IN_FILE = 1000
MAX_BYTES = 1_000_000_000
END = bytes(2 * tarfile.BLOCKSIZE)
"""What ends a tar file (POSIX, ustar interchange format)."""


class WebDataset(Format):
    """`samples-000000.tar`…: in files of at most so many samples, however many images a shard of the job has."""

    takes = frozenset({"copy_images", "image_root", "images_per_file"})

    def add(self, image: LabelledImage, copy: Copy | None, part: Part) -> None:
        """One sample."""
        described = {
            "file_name": self.file_name(image, copy),
            "uri": str(image.uri),
            "width": image.width,
            "height": image.height,
            "segments": [self.row_of(each) for each in image.segments],
        }
        files = {"jpg": copy.data} if copy else {}
        files |= {"json": as_json(described), "seg.png": write_png(image.ids)}
        sample = b"".join(_member(f"{image.number:09d}.{kind}", data) for kind, data in files.items())
        if copy:
            part.notes["turned_upright"] += copy.turned
        part.open(SAMPLES).write(sample)
        part.line(SIZES, str(len(sample)).encode())

    def finish(self, parts: Parts, target: Target) -> None:
        """The samples in files that end as tar files do."""
        samples = _samples(parts)
        for number, some in enumerate(in_files(samples, self.options.images_per_file or SAMPLES_IN_FILE, MAX_BYTES)):
            write(target, f"samples-{number:06d}.tar", chain(some, (END,)))


def _member(name: str, data: bytes) -> bytes:
    """A file in a tar, with nothing in its header that differs when it is made again."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _samples(parts: Parts) -> Iterator[bytes]:
    """All samples, one at a time."""
    sizes = parts.lines(SIZES)
    for path in parts.files(SAMPLES):
        with path.open("rb") as file:
            left = path.stat().st_size
            while left:
                size = int(next(sizes))
                yield file.read(size)
                left -= size


FORMAT = WebDataset
