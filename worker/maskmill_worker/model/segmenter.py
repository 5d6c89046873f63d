"""The transformers pipeline, hook by hook (`preprocess`, `_forward`, `postprocess`), but for batches of equal shape.

Stock batching fails for images of two sizes, and padding shifts logits; here images are batched only when all their
tensors have equal shapes, so an image's masks do not depend on its batchmates.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ImageSegmentationPipeline

from maskmill.masks.segment_map import SegmentMap, areas_and_boxes, narrowest
from maskmill.schema import Segment, Spec, Subtask
from maskmill_worker.model.forward import Forward, Inputs, Keep, Outputs, above, collate, everything, first_queries
from maskmill_worker.model.postprocess import Found, PostProcess, Segments, Thresholds

TRIAL_SHAPE = (64, 96, 3)


@dataclass(frozen=True)
class Segmentation:
    """One image's result: ids (H × W, 0 = no segment) and the segments in the pipeline's order."""

    ids: SegmentMap
    segments: tuple[Segment, ...]
    subtask: Subtask


class SegmentMapPipeline(ImageSegmentationPipeline):  # type: ignore[misc]  # untyped base
    """The stock pipeline, except that a result is one segment map instead of a full-size mask for each segment."""

    def resolve_subtask(self, subtask: Subtask | None) -> Subtask:
        """The subtask that the stock pipeline would take; raises `ValueError` when the model has no such."""
        for candidate in [subtask] if subtask else list(Subtask):
            if hasattr(self.image_processor, f"post_process_{candidate}_segmentation"):
                return candidate
        raise ValueError(f"{type(self.model).__name__} does not support {subtask or 'any'} segmentation")

    def described(self, segments: Segments, subtask: Subtask) -> Segmentation:
        """The segmentation with labels, areas and boxes."""
        ids = narrowest(segments.ids.cpu().numpy())
        return Segmentation(ids, self._describe(ids, segments.found), subtask)

    def _describe(self, ids: SegmentMap, found: Sequence[Found]) -> tuple[Segment, ...]:
        measures = list(areas_and_boxes(ids, max((n for _, n, _ in found), default=0)))
        return tuple(
            Segment(
                id=n,
                label=self.model.config.id2label[label_id],
                label_id=label_id,
                score=score,
                area=measures[n - 1][0],
                box=measures[n - 1][1],
            )
            for label_id, n, score in found
        )


class Segmenter:
    """A loaded model with one spec's parameters: `preprocess` on any process, the rest on the device's own."""

    def __init__(self, pipeline: SegmentMapPipeline, run: Forward, post_process: PostProcess, spec: Spec) -> None:
        self.pipeline = pipeline
        self._run = run
        self._post_process = post_process
        self.subtask = pipeline.resolve_subtask(spec.subtask)
        self.device: torch.device = pipeline.device
        # None must stay None for OneFormer, whose processor has its own default task.
        self._preprocess_parameters = {"subtask": spec.subtask.value} if spec.subtask else {}
        self._thresholds = Thresholds(spec.threshold, spec.mask_threshold, spec.overlap_mask_area_threshold)
        self._host = _without_weights(pipeline)
        self._keep = everything if self.subtask is Subtask.SEMANTIC else above(spec.threshold)

    def preprocess(self, image: Image.Image) -> Inputs:
        """Tensors (batch size 1, on the CPU) for one RGB image; needs no weights, so it may run in a forked process."""
        return dict(self._host.preprocess(image, **self._preprocess_parameters))

    def forward(self, inputs: Sequence[Inputs], keep: Keep | None = None) -> list[Outputs]:
        """Run the model once over images of equal shape (see `shape_of`); the outputs of each, on the device.

        `keep` says which queries are needed; None: those that can become segments.
        """
        with torch.inference_mode():
            # Copied one by one, because only the images' own tensors are page-locked, not their concatenation.
            batch = collate([{name: self._on_device(value) for name, value in each.items()} for each in inputs])
            outputs = self._run(batch, keep or self._keep)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that its errors are this batch's, and its seconds
        return outputs

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        """The segmentation of one image from its outputs."""
        height, width = outputs["target_size"][0]
        with torch.inference_mode():
            return self.pipeline.described(self._post_process(outputs, (height, width), self._thresholds), self.subtask)

    def trial(self) -> Outputs:
        """The outputs for a small image of noise; after it the first real one finds lazy set-up done."""
        noise = np.random.default_rng(0).integers(0, 256, TRIAL_SHAPE, np.uint8)
        return self.forward([self.preprocess(Image.fromarray(noise))], keep=first_queries)[0]

    def _on_device(self, value: Any) -> Any:
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else value


def _without_weights(pipeline: SegmentMapPipeline) -> SegmentMapPipeline:
    """The pipeline for `preprocess` alone: no CUDA object may travel into a forked DataLoader process."""
    host = copy.copy(pipeline)
    host.model = SimpleNamespace(config=pipeline.model.config, dtype=pipeline.dtype)
    return host
