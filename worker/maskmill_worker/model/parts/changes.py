"""Which parts of a model have a faster form, and a copy of the model that has them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn

from maskmill_worker.model.parts import onednn
from maskmill_worker.model.parts.deformable import SummedSamples
from maskmill_worker.model.parts.segformer import fold_head

Change = Callable[[Any], None]


def _samples(attention: nn.Module) -> None:
    attention.__class__ = SummedSamples


CHANGES: Mapping[str, Change] = {
    "Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention": _samples,
    "OneFormerPixelDecoderEncoderMultiscaleDeformableAttention": _samples,
    "SegformerDecodeHead": fold_head,
}
"""By the name of a class of transformers. A module keeps its place, so that lists of modules hold the changed one."""


def is_own(module: nn.Module) -> bool:
    """Whether its very class is one of transformers' models. Of somebody else's code nobody knows what it relies on."""
    return type(module).__module__.startswith("transformers.models.")


def faster(model: Any) -> Any | None:
    """The model with faster parts; None where it has none. All were measured on CPUs, in float32.

    A model of somebody else's code stays as it is.
    """
    if not is_own(model) or model.device.type != "cpu" or model.dtype != torch.float32:
        return None
    copied = shared_copy(model)
    changes = [(change, module) for module in copied.modules() if (change := _change(module))]
    for change, module in changes:
        change(module)
    by_onednn = onednn.use(copied) if onednn.is_faster(torch.get_num_threads()) else []
    return copied if changes or by_onednn else None


def shared_copy(model: Any) -> Any:
    """A copy of the modules around the same weights."""
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _change(module: nn.Module) -> Change | None:
    return CHANGES.get(type(module).__name__) if is_own(module) else None
