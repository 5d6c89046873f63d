"""Models with a pipeline of their own, as cut-out models have (`custom_pipelines`): trusted code, run as it is.

Its preprocessing, its model and its post-processing run image by image; what comes of it becomes a segment map.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from maskmill.errors import ModelUnusable, SegmentationFailed
from maskmill.masks.segment_map import narrowest
from maskmill.schema import ModelIdentity, Spec, Subtask
from maskmill_worker.model.forward import ALONE, Inputs, Keep, Outputs
from maskmill_worker.model.segmenter import AtATime, Label, Segmentation, Segmenter, described

FOREGROUND = "foreground"
"""The label of what a cut-out model keeps."""


def own_class(config: Any, path: str, options: Mapping[str, Any], task: str) -> Any:
    """The pipeline class that a model brings for the task; None if it brings none."""
    found = (getattr(config, "custom_pipelines", None) or {}).get(task)
    return get_class_from_dynamic_module(found["impl"], path, **options) if found else None


class OwnSegmenter(Segmenter):
    """A segmenter around a model's own pipeline."""

    def __init__(self, pipeline: Any, spec: Spec, identity: ModelIdentity) -> None:
        if spec.subtask:
            raise ModelUnusable(f"'{spec.model}' has a pipeline of its own, without subtasks: leave --subtask out")
        # Nobody knows what its code keeps of one call for the next.
        super().__init__(pipeline, identity, Subtask.SEMANTIC, AtATime.BATCH)
        self._threshold = spec.mask_threshold
        self._host = _on_host(pipeline)

    def preprocess(self, image: Image.Image) -> Inputs:
        """What its pipeline makes of one RGB image."""
        made = self._host.preprocess(image, **self._host._preprocess_params)  # noqa: SLF001 - as `Pipeline` does
        return {ALONE: made, "target_size": [(image.height, image.width)]}

    def collate(self, inputs: Sequence[Inputs]) -> Inputs:
        """The only image; its pipeline copies it to the device."""
        [alone] = inputs
        return alone

    def forward(self, batch: Inputs, keep: Keep | None = None) -> list[Outputs]:
        """Its pipeline's outputs."""
        del keep
        parameters = self.pipeline._forward_params  # noqa: SLF001 - as `Pipeline` does
        return [Outputs(made=self.pipeline.forward(batch[ALONE], **parameters), target_size=batch["target_size"])]

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        """The segments of its pipeline's result; raises `SegmentationFailed` for a result of another kind."""
        parameters = self.pipeline._postprocess_params  # noqa: SLF001 - as `Pipeline` does
        with torch.inference_mode():
            result = self.pipeline.postprocess(outputs["made"], **parameters)
        return segmentation_of(result, outputs["target_size"][0], self._threshold)


def segmentation_of(result: Any, size: tuple[int, int], threshold: float) -> Segmentation:
    """A segmentation from masks as pipelines give them: a mask, a cut-out with alpha, or a list of segments.

    Where masks overlap, later ones cover earlier ones. A pixel is in a mask from `threshold` of white on.
    """
    parts = result if isinstance(result, list) else [{"label": FOREGROUND, "mask": result}]
    ids = np.zeros(size, np.uint16)
    labels: dict[Label, int] = {}
    found = []
    for number, part in enumerate(parts, 1):
        if not isinstance(part, Mapping) or "mask" not in part:
            raise SegmentationFailed(f"the model's own pipeline gives {type(part).__name__}, not masks")
        ids[_is_white(part["mask"], size, threshold)] = number
        label_id = labels.setdefault(part.get("label"), len(labels))
        found.append((label_id, number, part.get("score")))
    names = {label_id: label for label, label_id in labels.items()}
    small = narrowest(ids)
    return Segmentation(small, described(small, found, names), Subtask.SEMANTIC)


def _is_white(mask: Any, size: tuple[int, int], threshold: float) -> NDArray[np.bool_]:
    if not isinstance(mask, Image.Image) or mask.mode not in ("1", "L", "LA", "RGBA"):
        kind = f"an image of mode {mask.mode}" if isinstance(mask, Image.Image) else type(mask).__name__
        raise SegmentationFailed(f"the model's own pipeline gives {kind}, not a mask (L) or a cut-out (RGBA)")
    if mask.size != (size[1], size[0]):
        raise SegmentationFailed(f"the model's own pipeline gives a mask of {mask.size}, not {(size[1], size[0])}")
    white = mask.getchannel("A") if mask.mode in ("LA", "RGBA") else mask.convert("L")
    return np.asarray(white) >= max(1, round(threshold * 255))


def _on_host(pipeline: Any) -> Any:
    """The pipeline for `preprocess` alone: no weights may travel into a forked DataLoader process."""
    host = copy.copy(pipeline)
    host.model = SimpleNamespace(config=pipeline.model.config, dtype=pipeline.model.dtype, device=torch.device("cpu"))
    host.device = torch.device("cpu")
    return host
