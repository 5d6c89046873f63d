"""Frozen batch normalisation folded into the convolution before it: one pass over the feature map less for each.

y = (w * x) s + b  is  (w s) * x + b: the same numbers but for rounding.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import nn


def folded(module: nn.Module) -> nn.Module:
    """A copy in which each `*FrozenBatchNorm2d` that directly follows a convolution has become part of it.

    'Follows' is the order of registration, as in timm's and transformers' ResNets; the caller compares the results.
    """
    result = copy.deepcopy(module)
    for parent in list(result.modules()):
        for (_, first), (name, second) in itertools.pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and type(second).__name__.endswith("FrozenBatchNorm2d"):
                _fold(first, second)
                setattr(parent, name, nn.Identity())
    return result


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: Any) -> None:
    scale = norm.weight * (norm.running_var + 1e-5).rsqrt()
    offset = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        offset = offset + convolution.bias * scale
    convolution.weight = nn.Parameter(convolution.weight * scale[:, None, None, None], requires_grad=False)
    convolution.bias = nn.Parameter(offset, requires_grad=False)
