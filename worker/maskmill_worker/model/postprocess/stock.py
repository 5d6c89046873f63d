"""The image processor's own post-processing, as the stock pipeline calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskmill.schema import Subtask
from maskmill_worker.model.forward import on_host
from maskmill_worker.model.postprocess.axis import Size
from maskmill_worker.model.postprocess.segments import Segments, Thresholds


class StockPostProcess:
    """The way of every processor that has no faster one; on the host, image by image."""

    def __init__(self, image_processor: Any, subtask: Subtask) -> None:
        self._function = getattr(image_processor, f"post_process_{subtask}_segmentation")
        self._semantic = subtask is Subtask.SEMANTIC

    def __call__(self, outputs: Mapping[str, Any], size: Size, thresholds: Thresholds) -> Segments:
        """The segments at `size`, height and width."""
        there = on_host(outputs)
        if self._semantic:
            return from_labels(self._function(there, target_sizes=[size])[0])
        result = self._function(there, target_sizes=[size], **asdict(thresholds))[0]
        return from_segments(result["segmentation"], result["segments_info"])


def from_labels(labels: Tensor) -> Segments:
    """Semantic: one segment a label, its id the label id plus one, no score.

    >>> from_labels(torch.tensor([[2, 2], [0, 2]]))
    Segments(ids=tensor([[3, 3], [1, 3]], dtype=torch.int32), found=[(0, 1, None), (2, 3, None)])
    """
    return Segments(labels.int() + 1, [(label, label + 1, None) for label in np.unique(labels.numpy()).tolist()])


def from_segments(raw: Tensor, infos: Sequence[Mapping[str, Any]]) -> Segments:
    """Panoptic, instance: ids are numbered from 1 in the order of `infos`; −1 and ids that they lack become 0.

    >>> infos = [{"id": 7, "label_id": 1, "score": 0.9}, {"id": 3, "label_id": 0, "score": 0.8}]
    >>> from_segments(torch.tensor([[7, 7], [3, -1]]), infos)
    Segments(ids=tensor([[1, 1], [2, 0]], dtype=torch.int32), found=[(1, 1, 0.9), (0, 2, 0.8)])
    """
    highest = int(raw.max()) if raw.numel() else -1
    table = torch.zeros(max(highest, *(info["id"] for info in infos), -1) + 2, dtype=torch.int32)
    for number, info in enumerate(infos, 1):
        table[info["id"] + 1] = number
    return Segments(table[raw.long() + 1], [(info["label_id"], n, info["score"]) for n, info in enumerate(infos, 1)])
