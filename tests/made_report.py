"""Reports of made jobs: real pages with real data, in a second, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import made_jobs
from maskmill.addresses import Address
from maskmill.errors import ImageNotFound
from maskmill.masks.segment_map import Mask, decode
from maskmill.schema import Outcome
from maskmill_producer.report.page.report import Written, write_report
from maskmill_producer.report.page.source import Part

FOLDER = "/data/photos"


class Made:
    """A made job as a report's source; every ninth image is gone by now."""

    def __init__(self, images: int, **changes: Any) -> None:
        self.record, self.manifest = made_jobs.record(images), made_jobs.manifest(images)
        self.command = ("submit", "s3://labels/2026")
        self._changes = changes

    def parts(self) -> Iterator[Part]:
        for shard in range(self.record.shards):
            report = made_jobs.report(self.record.images, shard)
            yield Part(tuple(self._changed(each) for each in report.outcomes), (), report)

    def _changed(self, outcome: Outcome) -> Outcome:
        return outcome.model_copy(update=self._changes) if outcome.has_mask else outcome

    def name_of(self, uri: Address) -> str:
        return uri.removeprefix(f"{FOLDER}/")

    def mask(self, outcome: Outcome) -> Mask:
        return decode(made_jobs.mask_png(outcome))

    def image(self, outcome: Outcome, mask: Mask) -> Image.Image:
        if outcome.uri.endswith("9.jpg"):
            raise ImageNotFound(f"{outcome.uri}: no such file")
        return Image.open(BytesIO(made_jobs.image_jpeg(outcome))).convert("RGB")


def made_report(folder: Path, images: int, gallery: int | None = 40) -> Written:
    return write_report(Made(images), folder, gallery)
