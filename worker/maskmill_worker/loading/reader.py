"""Reads one image: from its reference to its bytes, its pixels and its tensors."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from PIL import Image

from maskmill.errors import EntryUnlisted, ImageError, ImageOutOfMemory, SegmentationFailed, ShardError, one_line
from maskmill.images.decode import decode, register_formats
from maskmill.images.fetch import Fetcher
from maskmill.images.pace import Pace
from maskmill.settings import Settings
from maskmill.storage.download import Download
from maskmill.storage.store import WORKER_ATTEMPTS
from maskmill_worker.model.forward import Inputs
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.process.clock import StageClock


class Reader:
    """Reads one image: its file's bytes, its pixels, its tensors. Raises no `ImageError`: it becomes the sample's."""

    def __init__(
        self, segmenter: Segmenter, settings: Settings, scale: str | None = None, pace: Pace | None = None
    ) -> None:
        Image.init()  # the decoders are loaded once, not in each process
        register_formats()
        self.segmenter = segmenter
        self.scale = scale
        self.max_pixels = settings.max_image_pixels
        self.pin_memory = segmenter.device.type == "cuda"
        self.fetcher = Fetcher.of(settings, attempts=WORKER_ATTEMPTS, pace=pace)

    def fetch(self, task: Task) -> Fetched:
        """The file's bytes, or why there are none."""
        clock = StageClock()
        if task.reference.problem:
            return Fetched(task, clock, EntryUnlisted(task.reference.problem))
        try:
            return Fetched(task, clock, clock.time("fetch", self.fetcher.download, task.reference.uri, task.known))
        except Exception as error:  # noqa: BLE001 - goes on to `read`, in the thread that answers for it
            return Fetched(task, clock, error)

    def read(self, fetched: Fetched) -> Sample:
        """The sample of a fetched image; raises `ShardError` for what is not the image's fault."""
        task, clock = fetched.task, fetched.clock
        try:
            download = fetched.take()
            if download.data is None:
                return Sample(task, seconds=clock.seconds, version=download.version, unchanged=True)
            picture = clock.time("decode", decode, download.data, max_pixels=self.max_pixels, scale=self.scale)
            inputs = clock.time("preprocess", self._preprocess, picture.image)
        except ImageError as error:
            return Sample(task, seconds=clock.seconds, error=_bare(error))
        except ShardError:
            raise
        except Exception as error:  # noqa: BLE001 - no memory, or what nobody thought of: this image's own
            return Sample(task, seconds=clock.seconds, error=unread(error))
        return Sample(
            task,
            inputs,
            picture.image.width,
            picture.image.height,
            clock.seconds,
            version=download.version,
            scale=picture.scale,
            warnings=picture.warnings,
        )

    def _preprocess(self, image: Any) -> Inputs:
        try:
            return self.segmenter.preprocess(image)
        except Exception as error:
            if _no_memory(error):
                raise
            raise SegmentationFailed(f"preprocessing failed: {one_line(error)}") from error


@dataclass(frozen=True)
class Fetched:
    """What came of fetching one image."""

    task: Task
    clock: StageClock
    result: Download | Exception

    def take(self) -> Download:
        """What was fetched; raises what the fetch raised."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def unread(error: Exception) -> ImageError:
    """What an image ends with whose reading raised an error that is not one of ours."""
    if _no_memory(error):
        return ImageOutOfMemory("needs more memory than a loader process may take (MASKMILL_LOADER_MEMORY_BYTES)")
    return ImageError(f"could not be read: {one_line(error)}")


def _bare(error: ImageError) -> ImageError:
    """The error without cause and traceback, whose objects may not pickle between processes."""
    return type(error)(str(error))


def _no_memory(error: Exception) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.ENOSPC)  # of the sample's file in memory
    return full or isinstance(error, MemoryError) or "can't allocate memory" in str(error)
