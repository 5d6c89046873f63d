"""What a worker makes of photographs, in this process: batched by shape and predicted, as in the flow of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from maskmill.errors import ImageError
from maskmill.images.decode import decode
from maskmill.masks.segment_map import pipeline_output
from maskmill.schema import Reference, Spec
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.batching import Batches
from maskmill_worker.model.forward import shape_of
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import predict
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmentation, Segmenter

from .compare import Segment

MAX_PIXELS = 10**7


def segmenter_of(models: Models, folder: Path, subtask: str | None = None, **parameters: object) -> Segmenter:
    """The segmenter of a model folder."""
    return models.get(Spec.model_validate({"model": str(folder), "subtask": subtask, **parameters}))


def read(path: Path) -> Image.Image:
    """The image as a worker decodes it."""
    return decode(path.read_bytes(), max_pixels=MAX_PIXELS).image


def sample_of(segmenter: Segmenter, path: Path, index: int = 0) -> Sample:
    """The image's tensors."""
    task = Task(0, index, Reference(uri=str(path), mask_key="masks/x.png"))
    return Sample(task, segmenter.preprocess(read(path)))


def results(segmenter: Segmenter, paths: Sequence[Path], batch_size: int) -> dict[Path, Segmentation | ImageError]:
    """The worker's own way from images to segmentations, or to the errors that they end with."""
    samples = [sample_of(segmenter, path, index) for index, path in enumerate(paths)]
    size, found = BatchSize(batch_size), {}
    batches = Batches[Sample](lambda sample: shape_of(sample.inputs), lambda _: batch_size, 100)
    for batch in [full for sample in samples for full in batches.add(sample)] + batches.rest():
        for prediction in predict(segmenter, batch, size):
            found[Path(prediction.sample.task.reference.uri)] = prediction.result
    return found


def segmentations(segmenter: Segmenter, paths: Sequence[Path], batch_size: int) -> dict[Path, Segmentation]:
    """The same where no image fails."""
    found = {}
    for path, result in results(segmenter, paths, batch_size).items():
        assert isinstance(result, Segmentation), result
        found[path] = result
    return found


def output(result: Segmentation) -> list[Segment]:
    """The segmentation as the pipeline would give it."""
    return pipeline_output(result.ids, result.segments)
