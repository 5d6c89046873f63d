"""The transformers pipeline, hook by hook (`preprocess`, `_forward`, `postprocess`), but for batches of equal shape.

Stock batching fails for images of two sizes, and padding shifts logits; here images are batched only when all their
tensors have equal shapes, so an image's masks do not depend on its batchmates.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ImageSegmentationPipeline

from maskmill.errors import ModelUnusable, SegmentationFailed
from maskmill.masks.segment_map import SegmentMap, areas_and_boxes, narrowest
from maskmill.schema import ModelClasses, ModelIdentity, Segment, Spec, Subtask
from maskmill_worker.model.forward import Forward, Inputs, Keep, Outputs, above, collate, everything, first_queries
from maskmill_worker.model.postprocess import Found, PostProcess, Size, Thresholds

Label = str | int | float | None


@dataclass(frozen=True)
class Segmentation:
    """One image's result: ids (H × W, 0 = no segment) and the segments in the pipeline's order."""

    ids: SegmentMap
    segments: tuple[Segment, ...]
    subtask: Subtask


class SegmentMapPipeline(ImageSegmentationPipeline):  # type: ignore[misc]  # untyped base
    """The stock pipeline, except that a result is one segment map instead of a full-size mask for each segment."""


def described(ids: SegmentMap, found: Sequence[Found], labels: Mapping[int, Label]) -> tuple[Segment, ...]:
    """The segments of a map with labels, areas and boxes; raises `SegmentationFailed` where a label has no name."""
    if unnamed := {label_id for label_id, _, _ in found} - labels.keys():
        raise SegmentationFailed(f"the model's id2label has no name for label {min(unnamed)}")
    measures = list(areas_and_boxes(ids, max((n for _, n, _ in found), default=0)))
    return tuple(
        Segment(id=n, label=labels[label_id], label_id=label_id, score=score, area=area, box=box)
        for label_id, n, score in found
        for area, box in [measures[n - 1]]
    )


def subtask_of(image_processor: Any, wanted: Subtask | None) -> Subtask:
    """The subtask that the stock pipeline would take; raises `ModelUnusable` when the processor has no such."""
    served = [each for each in Subtask if hasattr(image_processor, f"post_process_{each}_segmentation")]
    name = type(image_processor).__name__
    if not served:
        raise ModelUnusable(f"its image processor ({name}) makes no masks: not a model of image segmentation")
    if wanted and wanted not in served:
        raise ModelUnusable(f"it does no {wanted} segmentation: --subtask {' or '.join(served)} ({name})")
    return wanted or served[0]


class AtATime(Enum):
    """What may go on in a model at a time."""

    BATCH = auto()
    """One batch, from the first of its calls to the last."""
    PASS = auto()
    """One forward pass; other batches may be collated and post-processed beside it."""
    ANY = auto()
    """Forward passes of several threads, too."""


class Segmenter(ABC):
    """A loaded model with one spec's parameters: `preprocess` on any process, the rest on the device's own.

    `identity` says which files it was made of, `at_a_time` what several threads may call at a time.
    """

    def __init__(self, pipeline: Any, identity: ModelIdentity, subtask: Subtask, at_a_time: AtATime) -> None:
        self.pipeline = pipeline
        self.identity = identity
        self.subtask = subtask
        self.at_a_time = at_a_time
        self.device: torch.device = pipeline.device

    @property
    def classes(self) -> ModelClasses:
        """The model's names for its labels, as text."""
        names = self.pipeline.model.config.id2label.items()
        return ModelClasses(id2label={label: _text(name) for label, name in names if name is not None})

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Inputs:
        """Tensors (batch size 1, on the CPU) for one RGB image; needs no weights, so it may run in a forked process."""

    @abstractmethod
    def collate(self, inputs: Sequence[Inputs]) -> Inputs:
        """One batch of images of equal shape (see `shape_of`), on the device."""

    @abstractmethod
    def forward(self, batch: Inputs, keep: Keep | None = None) -> list[Outputs]:
        """Run the model once over a batch of `collate`; the outputs of each image, on the device.

        `keep` says which queries are needed; None: those that can become segments.
        """

    @abstractmethod
    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        """The segmentation of one image from its outputs; raises `SegmentationFailed` where they make none."""


class TransformersSegmenter(Segmenter):
    """A segmenter around the pipeline of transformers."""

    def __init__(
        self,
        pipeline: SegmentMapPipeline,
        run: Forward,
        post_process: PostProcess,
        spec: Spec,
        identity: ModelIdentity,
        at_a_time: AtATime,
    ) -> None:
        super().__init__(pipeline, identity, subtask_of(pipeline.image_processor, spec.subtask), at_a_time)
        self._run = run
        self._post_process = post_process
        # None must stay None for OneFormer, whose processor has its own default task.
        self._preprocess_parameters = {"subtask": spec.subtask.value} if spec.subtask else {}
        self._thresholds = Thresholds(spec.threshold, spec.mask_threshold, spec.overlap_mask_area_threshold)
        self._host = _without_weights(pipeline)
        self._keep = everything if self.subtask is Subtask.SEMANTIC else above(spec.threshold)

    def preprocess(self, image: Image.Image) -> Inputs:
        """What the image processor makes of the image."""
        return dict(self._host.preprocess(image, **self._preprocess_parameters))

    def collate(self, inputs: Sequence[Inputs]) -> Inputs:
        """Tensors are copied one by one, because only the images' own are page-locked, not their concatenation."""
        with torch.inference_mode():
            return collate([{name: self._on_device(value) for name, value in each.items()} for each in inputs])

    def forward(self, batch: Inputs, keep: Keep | None = None) -> list[Outputs]:
        """One pass over all images."""
        with torch.inference_mode():
            outputs = self._run(batch, keep or self._keep)
        if self.device.type == "cuda":
            # So that its errors are this batch's, and its seconds. Other threads have streams of their own.
            torch.cuda.current_stream(self.device).synchronize()
        return outputs

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        """What the family's post-processing makes of the outputs."""
        height, width = outputs["target_size"][0]
        with torch.inference_mode():
            segments = self._post_process(outputs, (height, width), self._thresholds)
        ids = narrowest(segments.ids.cpu().numpy())
        return Segmentation(ids, described(ids, segments.found, self.pipeline.model.config.id2label), self.subtask)

    def trial(self, size: Size) -> Outputs:
        """The outputs for an image of noise; after it the first real one finds lazy set-up done."""
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        return self.forward(self.collate([self.preprocess(Image.fromarray(noise))]), keep=first_queries)[0]

    def _on_device(self, value: Any) -> Any:
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else value


def _without_weights(pipeline: SegmentMapPipeline) -> SegmentMapPipeline:
    """The pipeline for `preprocess` alone: no CUDA object may travel into a forked DataLoader process."""
    host = copy.copy(pipeline)
    host.model = SimpleNamespace(config=pipeline.model.config, dtype=pipeline.dtype)
    return host


def _text(name: object) -> str:
    """A label's name as UTF-8 can hold it."""
    return str(name).encode(errors="replace").decode()
