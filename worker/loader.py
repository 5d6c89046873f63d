"""Fetch, decode and preprocess in DataLoader processes: references in, tensors or failures out."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from maskmill.decode import decode
from maskmill.errors import ImageError, SegmentationFailed, ShardError, one_line
from maskmill.fetch import Fetcher, FetchLimits
from maskmill.schema import Reference
from maskmill.settings import Settings
from maskmill.store import ObjectReader
from worker.parent import die_with_parent
from worker.segmenter import Inputs, Segmenter

PREFETCH = 4
"""Images that each DataLoader process keeps ready ahead of the model."""


@dataclass(frozen=True)
class Sample:
    """One reference of the shard with its tensors, or with the error that it ended with."""

    index: int
    reference: Reference
    inputs: Inputs = field(default_factory=dict)
    width: int = 0
    height: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    error: ImageError | None = None


class ReferenceDataset(Dataset[Sample]):
    """Item i is the i-th reference of the shard, fetched, decoded and preprocessed. Never raises an `ImageError`."""

    def __init__(self, references: Sequence[Reference], segmenter: Segmenter, settings: Settings) -> None:
        self.references = references
        self.segmenter = segmenter
        self.max_pixels = settings.max_image_pixels
        self.fetcher = Fetcher(
            FetchLimits(max_bytes=settings.max_image_bytes, timeout_seconds=settings.fetch_timeout_seconds),
            read_object=ObjectReader(settings.source_s3),
        )

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, index: int) -> Sample:
        reference = self.references[index]
        clock = StageClock()
        try:
            data = clock.time("fetch", self.fetcher.fetch, reference.uri)
            image = clock.time("decode", decode, data, max_pixels=self.max_pixels)
            inputs = clock.time("preprocess", self._preprocess, image)
        except ImageError as error:
            return Sample(index, reference, seconds=clock.seconds, error=_bare(error))
        except ShardError:
            raise
        except Exception as error:  # noqa: BLE001 - no memory, or what nobody thought of: this image's own
            unread = ImageError(f"could not be read: {one_line(error)}")
            return Sample(index, reference, seconds=clock.seconds, error=unread)
        return Sample(index, reference, inputs, image.width, image.height, clock.seconds)

    def _preprocess(self, image: Any) -> Inputs:
        try:
            return self.segmenter.preprocess(image)
        except Exception as error:
            raise SegmentationFailed(f"preprocessing failed: {one_line(error)}") from error


class StageClock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, function: Any, *arguments: Any, **options: Any) -> Any:
        """Call the function and book its time, whether it returns or raises."""
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            self.seconds[stage] = round(time.perf_counter() - started, 6)


def _bare(error: ImageError) -> ImageError:
    """The error without cause and traceback, whose objects may not pickle between processes."""
    return type(error)(str(error))


def process_count(asked: int | None) -> int:
    """DataLoader processes: as asked, else one less than the cores that this process may use, from 1 to 8."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores - 1))


def load(
    references: Sequence[Reference], segmenter: Segmenter, settings: Settings, num_workers: int
) -> Generator[Sample, None, None]:
    """Samples in the shard's order, `PREFETCH` a process ahead of the reader; close it to end the processes."""
    loader = DataLoader(
        ReferenceDataset(references, segmenter, settings),
        batch_size=None,
        num_workers=num_workers,
        # forkserver fails in a Celery pool child ('Pickling an AuthenticationString'); spawn would load torch again.
        multiprocessing_context="fork" if num_workers else None,
        prefetch_factor=PREFETCH if num_workers else None,
        worker_init_fn=_start_process if num_workers else None,
    )
    samples = iter(loader)
    try:
        yield from samples
    finally:
        # Left to the garbage collector, an iterator may be deleted in a process forked for the next shard, which
        # prints 'can only test a child process' (pytorch#88203).
        if num_workers:
            samples._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way


def _start_process(_: int) -> None:
    die_with_parent()
    torch.set_num_threads(1)
