"""Maskmill's own classes in a process of their own, without queue and store: the one place that calls `worker`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.child import serve
from maskmill.errors import ImageError
from maskmill.images.decode import decode
from maskmill.masks.segment_map import MaskHeader, encode
from maskmill.schema import Reference, Spec
from maskmill.settings import Settings
from maskmill.storage import keys
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.batching import Batches
from maskmill_worker.model.forward import shape_of
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import Prediction, predict
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.shards.flow import LOOK_AHEAD_BATCHES

Item = TypeVar("Item")


class Ours:
    """The loaded model."""

    def __init__(self) -> None:
        self.models: Models | None = None
        self.spec: Spec | None = None

    @property
    def segmenter(self) -> Segmenter:
        """As the worker gets it for a job."""
        assert self.models  # noqa: S101 - loaded first
        assert self.spec  # noqa: S101
        return self.models.get(self.spec)

    def load(self, model: str, warm_up: str | None, device: str = "cpu", **spec: Any) -> dict[str, Any]:
        """Load the model, and run it once on an image; torch's threads and the default batch size."""
        self.models = self.models or Models(device)
        self.spec = Spec(model=model, **spec)
        if warm_up:
            list(_masks(self.segmenter, self.spec, [warm_up], 1))
        return {"threads": torch.get_num_threads(), "batch_size": Settings().batch_size}

    def segment(self, paths: Sequence[str], batch_size: int, folder: str) -> dict[str, Any]:
        """Image files to mask bytes, as a worker does it; the masks are saved off the clock."""
        assert self.spec  # noqa: S101 - loaded first
        segmenter = self.segmenter
        started = time.perf_counter()
        masks = dict(_masks(segmenter, self.spec, paths, batch_size))
        seconds = time.perf_counter() - started
        for path, png in masks.items():
            (Path(folder) / f"{Path(path).name}.png").write_bytes(png)
        return {"seconds": seconds, "masks": len(masks)}

    def forward(self, paths: Sequence[str], batch_size: int, images: int) -> dict[str, Any]:
        """The model alone over tensors that are ready on its device, in the batches that a job of these files makes.

        A batch that does not fit into the device's memory takes for ever.
        """
        segmenter = self.segmenter
        tensors = [
            {name: value.to(segmenter.device) if torch.is_tensor(value) else value for name, value in inputs.items()}
            for inputs in (_sample(index, path, segmenter).inputs for index, path in enumerate(paths))
        ]
        endless = islice(cycle(tensors), images)
        batches = list(_batches(endless, shape_of, batch_size))
        try:
            segmenter.forward(segmenter.collate(batches[0]))
            started = time.perf_counter()
            for batch in batches:
                segmenter.forward(segmenter.collate(batch))
            seconds = time.perf_counter() - started
        except torch.OutOfMemoryError:
            seconds = math.inf
        described = f"{len(batches)} batches of equal shape, up to {batch_size} images each"
        return {"seconds": seconds, "images": images, "described": described}


def _masks(segmenter: Segmenter, spec: Spec, paths: Sequence[str], batch_size: int) -> Iterator[tuple[str, bytes]]:
    samples = (_sample(index, path, segmenter) for index, path in enumerate(paths))
    size = BatchSize(batch_size)
    for batch in _batches(samples, lambda sample: shape_of(sample.inputs), batch_size):
        for prediction in predict(segmenter, batch, size):
            yield prediction.sample.task.reference.uri, _encode(prediction, spec)


def _batches(
    items: Iterable[Item], item_shape: Callable[[Item], Hashable | None], batch_size: int
) -> Iterator[list[Item]]:
    batches = Batches(item_shape, lambda _: batch_size, batch_size * LOOK_AHEAD_BATCHES)
    for item in items:
        yield from batches.add(item)
    yield from batches.rest()


def _sample(index: int, path: str, segmenter: Segmenter) -> Sample:
    image = decode(Path(path).read_bytes(), max_pixels=Settings().max_image_pixels).image
    reference = Reference(uri=path, mask_key=keys.mask(path))
    return Sample(Task(0, index, reference), segmenter.preprocess(image), image.width, image.height)


def _encode(prediction: Prediction, spec: Spec) -> bytes:
    result = prediction.result
    if isinstance(result, ImageError):
        raise result
    header = MaskHeader(
        uri=prediction.sample.task.reference.uri,
        fingerprint=spec.fingerprint(),
        subtask=result.subtask,
        segments=result.segments,
    )
    return encode(result.ids, header)


if __name__ == "__main__":
    ours = Ours()
    serve({"load": ours.load, "segment": ours.segment, "forward": ours.forward})
