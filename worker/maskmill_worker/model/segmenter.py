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
from numpy.typing import NDArray
from PIL import Image
from transformers import ImageSegmentationPipeline

from maskmill.masks.segment_map import SegmentMap, areas_and_boxes, narrowest
from maskmill.schema import Segment, Spec, Subtask
from maskmill_worker.model.forward import Forward, Inputs, Outputs, above, collate, everything
from maskmill_worker.model.postprocess import Segments, Thresholds, postprocess_for


@dataclass(frozen=True)
class Segmentation:
    """One image's result: ids (H × W, 0 = no segment) and the segments in the pipeline's order."""

    ids: SegmentMap
    segments: tuple[Segment, ...]
    subtask: Subtask


class SegmentMapPipeline(ImageSegmentationPipeline):  # type: ignore[misc]  # untyped base
    """The stock pipeline, except that `postprocess` gives one segment map instead of a full-size mask a segment."""

    def resolve_subtask(self, subtask: Subtask | None) -> Subtask:
        """The subtask that the stock pipeline would take; raises `ValueError` when the model has no such."""
        for candidate in [subtask] if subtask else list(Subtask):
            if hasattr(self.image_processor, f"post_process_{candidate}_segmentation"):
                return candidate
        raise ValueError(f"{type(self.model).__name__} does not support {subtask or 'any'} segmentation")

    def postprocess(
        self,
        model_outputs: Mapping[str, Any],
        subtask: Subtask | None = None,
        **thresholds: float,
    ) -> Segmentation:
        """The segmentation of the single image in `model_outputs`: by the processor's own functions where need be."""
        resolved = self.resolve_subtask(subtask)
        if fast := postprocess_for(self.image_processor, resolved):
            height, width = model_outputs["target_size"][0]
            return self._from_found(fast(model_outputs, (height, width), Thresholds(**thresholds)), resolved)
        model_outputs = Outputs({name: _on_host(value) for name, value in model_outputs.items()})
        post_process = getattr(self.image_processor, f"post_process_{resolved}_segmentation")
        sizes = model_outputs["target_size"]
        if resolved is Subtask.SEMANTIC:
            labels = post_process(model_outputs, target_sizes=sizes)[0].numpy()
            return self._from_labels(labels)
        result = post_process(model_outputs, target_sizes=sizes, **thresholds)[0]
        return self._from_segments(result["segmentation"].numpy(), result["segments_info"], resolved)

    def _from_found(self, segments: Segments, subtask: Subtask) -> Segmentation:
        """From our own post-processing, whose ids are as a map has them."""
        ids = narrowest(segments.ids.cpu().numpy())
        return Segmentation(ids, self._describe(ids, segments.found), subtask)

    def _from_labels(self, labels: NDArray[np.integer]) -> Segmentation:
        """Semantic: one segment a label, its id the label id plus one, no score."""
        ids = narrowest(labels + 1)
        found = [(int(label), int(label) + 1, None) for label in np.unique(labels)]
        return Segmentation(ids, self._describe(ids, found), Subtask.SEMANTIC)

    def _from_segments(
        self, raw: NDArray[np.number], infos: Sequence[Mapping[str, Any]], subtask: Subtask
    ) -> Segmentation:
        """Panoptic, instance: ids are numbered from 1 in the order of `segments_info`; −1 and unnamed ids become 0."""
        table = np.zeros(max([int(raw.max(initial=-1)), *(info["id"] for info in infos)]) + 2, np.int32)
        for segment_id, info in enumerate(infos, 1):
            table[info["id"] + 1] = segment_id
        ids = narrowest(table[raw.astype(np.int64) + 1])
        found = [(info["label_id"], n, info["score"]) for n, info in enumerate(infos, 1)]
        return Segmentation(ids, self._describe(ids, found), subtask)

    def _describe(self, ids: SegmentMap, found: Sequence[tuple[int, int, float | None]]) -> tuple[Segment, ...]:
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

    def __init__(self, pipeline: SegmentMapPipeline, run: Forward, spec: Spec) -> None:
        self.pipeline = pipeline
        self._run = run
        self.subtask = pipeline.resolve_subtask(spec.subtask)
        self.device: torch.device = pipeline.device
        # None must stay None for OneFormer, whose processor has its own default task.
        self._preprocess_parameters = {"subtask": spec.subtask.value} if spec.subtask else {}
        self._thresholds = {
            "threshold": spec.threshold,
            "mask_threshold": spec.mask_threshold,
            "overlap_mask_area_threshold": spec.overlap_mask_area_threshold,
        }
        self._host = _without_weights(pipeline)
        self._keep = everything if self.subtask is Subtask.SEMANTIC else above(spec.threshold)

    def preprocess(self, image: Image.Image) -> Inputs:
        """Tensors (batch size 1, on the CPU) for one RGB image; needs no weights, so it may run in a forked process."""
        return dict(self._host.preprocess(image, **self._preprocess_parameters))

    def forward(self, inputs: Sequence[Inputs]) -> list[Outputs]:
        """Run the model once over images of equal shape (see `shape_of`); the outputs of each, on the device."""
        with torch.inference_mode():
            # Copied one by one, because only the images' own tensors are page-locked, not their concatenation.
            batch = collate([{name: self._on_device(value) for name, value in each.items()} for each in inputs])
            outputs = self._run(batch, self._keep)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that its errors are this batch's, and its seconds
        return outputs

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        """The segmentation of one image from its outputs."""
        with torch.inference_mode():
            result: Segmentation = self.pipeline.postprocess(outputs, subtask=self.subtask, **self._thresholds)
        return result

    def warm_up(self, side: int = 64) -> None:
        """Push one grey image through everything, so that the first real one finds lazy set-up done."""
        for outputs in self.forward([self.preprocess(Image.new("RGB", (side, side), (127, 127, 127)))]):
            self.postprocess(outputs)

    def _on_device(self, value: Any) -> Any:
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else value


def _on_host(value: Any) -> Any:
    return value.cpu() if torch.is_tensor(value) else value


def _without_weights(pipeline: SegmentMapPipeline) -> SegmentMapPipeline:
    """The pipeline for `preprocess` alone: no CUDA object may travel into a forked DataLoader process."""
    host = copy.copy(pipeline)
    host.model = SimpleNamespace(config=pipeline.model.config, dtype=pipeline.dtype)
    return host
