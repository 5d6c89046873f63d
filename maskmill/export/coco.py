"""What both of COCO's formats have in common: rows of images, and a file of images, annotations and categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from maskmill.dataset.images import LabelledImage
from maskmill.dataset.originals import Copy
from maskmill.export.format import Format, as_json
from maskmill.export.parts import Parts


class CocoFormat(Format):
    """Images are numbered by their places in the job, from 1."""

    def image_row(self, image: LabelledImage, copy: Copy | None) -> bytes:
        """The image's row, one item of the list `images`."""
        row = {
            "id": image.number + 1,
            "file_name": self.file_name(image, copy),
            "width": image.width,
            "height": image.height,
        }
        return as_json(row)

    def dataset(
        self, parts: Parts, categories: Iterable[Mapping[str, Any]], images: str, annotations: str
    ) -> Iterator[bytes]:
        """A whole file; `images` and `annotations` are lists that all shards have made together."""
        info = {"description": f"maskmill job {self.plan.job}"}
        yield b'{"info":' + as_json(info) + b',"licenses":[],"categories":' + as_json(list(categories)) + b',"images":['
        yield from parts.joined(images)
        yield b'],"annotations":['
        yield from parts.joined(annotations)
        yield b"]}\n"
