"""Running a model over a batch of equal shapes: the stock way, or a faster one that gives the same outputs.

A *forward* takes collated inputs, with the images' `target_size`s (height, width), and a `keep` that says, from class
logits, which queries the post-processing will keep. It gives each image's outputs as a batch of one, with its
`target_size`, on the model's device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Inputs = dict[str, Any]
"""What the image processor gives for one image (tensors of batch size 1) or, collated, for several."""

Keep = Callable[[Tensor], Tensor]
"""From class logits (B, Q, C + 1) to a bool mask (B, Q) of the queries that can become segments."""

FEW_QUERIES = 6

ALONE = "alone"
"""The name of inputs that share no batch: those of a model's own pipeline."""


class Outputs(dict[str, Any]):
    """A model's outputs: a dict whose items are attributes too, as `post_process_*` expects of a `ModelOutput`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Forward(Protocol):
    """One way of running a model."""

    def __call__(self, inputs: Inputs, keep: Keep) -> list[Outputs]:
        """The outputs of each image of the batch."""

    def compile(self) -> None:
        """Have `torch.compile` translate what is worth it, at the first batches."""


def above(threshold: float) -> Keep:
    """Queries that have an object with a score above the threshold: what `post_process_*` filters by."""

    def keep(logits: Tensor) -> Tensor:
        scores, labels = logits.softmax(-1).max(-1)
        return (scores > threshold) & (labels != logits.shape[-1] - 1)

    return keep


def everything(logits: Tensor) -> Tensor:
    """All queries: semantic segmentation weighs every mask."""
    return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)


def first_queries(logits: Tensor) -> Tensor:
    """A few, whatever is in them: enough to try a model out."""
    kept = torch.zeros(logits.shape[:2], dtype=torch.bool, device=logits.device)
    kept[:, :FEW_QUERIES] = True
    return kept


class StockForward:
    """The model's own forward: the way of every class that has no faster one."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def compile(self) -> None:
        """The whole model; `dynamic`, because image sizes change from batch to batch."""
        self.model = torch.compile(self.model, dynamic=True)

    def __call__(self, inputs: Inputs, keep: Keep) -> list[Outputs]:
        """The outputs of each image, with every query."""
        del keep
        tensors = dict(inputs)
        sizes = tensors.pop("target_size")
        outputs = self.model(**tensors)
        return [
            Outputs(image_outputs(outputs, index, len(sizes)), target_size=[size]) for index, size in enumerate(sizes)
        ]


def on_host(outputs: Mapping[str, Any]) -> Outputs:
    """The outputs with their tensors in the host's memory, as the stock pipeline post-processes them."""
    return Outputs({name: value.cpu() if torch.is_tensor(value) else value for name, value in outputs.items()})


def shape_of(inputs: Inputs) -> tuple[Any, ...] | None:
    """Images with equal keys can share a batch; None: this one runs alone.

    EoMT's semantic processor cuts one image into several patches and numbers them by image (`patch_offsets`).
    """
    if inputs.get("patch_offsets") or ALONE in inputs:
        return None
    return tuple((name, tuple(value.shape)) for name, value in inputs.items() if torch.is_tensor(value))


def element_count(inputs: Inputs) -> int:
    """Numbers in the image's tensors: what the memory of a forward pass grows with."""
    return sum(value.numel() for value in inputs.values() if torch.is_tensor(value))


def collate(inputs: Sequence[Inputs]) -> Inputs:
    """One batch from images of equal shape: tensors are concatenated along dimension 0, lists are joined."""
    if len(inputs) == 1:
        return dict(inputs[0])
    return {
        name: torch.cat([each[name] for each in inputs])
        if torch.is_tensor(first)
        else [item for each in inputs for item in each[name]]
        for name, first in inputs[0].items()
    }


def image_outputs(outputs: Mapping[str, Any], index: int, images: int) -> Mapping[str, Any]:
    """The outputs of one image of a batch, as a batch of one; what is not per image (hidden states) is left out."""
    if images == 1:
        return outputs
    return {name: value[index : index + 1] for name, value in outputs.items() if _per_image(value, images)}


def _per_image(value: Any, images: int) -> bool:
    if isinstance(value, list):
        return len(value) in (0, images)  # an empty one is EoMT's way to say 'no patches', which it asks for
    return torch.is_tensor(value) and value.dim() > 0 and len(value) == images
