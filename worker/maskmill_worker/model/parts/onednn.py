"""Linear layers by oneDNN, where that is faster than what torch takes: MKL, which is slow on CPUs of other makers.

torch itself takes oneDNN for most convolutions, but not for those of 1 × 1 on a single thread, and for no linear layer
in float32. What oneDNN keeps for each shape is bounded, as it is for other convolutions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Steps: TypeAlias = tuple[int, ...]

TIMES_FASTER = 1.15
"""By how much oneDNN must be faster to be used: float noise is not changed for less."""

TRIAL = (1024, 256, 1024)
"""Rows, inputs and outputs of the product that is timed: some 10 ms of work in all."""

TRIALS = 5

LEAST_WEIGHTS = 64 * 64
"""A smaller layer gains less than the ten microseconds that calling oneDNN takes."""


def product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `torch.nn.functional.linear`: a convolution of 1 × 1 over an image of one line, whose channels come last.

    oneDNN's own linear layer is as fast, but keeps half a megabyte for each number of rows that it has seen.
    """
    line = rows.reshape(1, 1, -1, rows.shape[-1]).permute(0, 3, 1, 2)
    found = convolution(line, weight[..., None, None], bias)
    return found.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(weight))


def convolution(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Steps = (1, 1),
    dilation: Steps = (1, 1),
    groups: int = 1,
) -> Tensor:
    """As `torch.nn.functional.conv2d` without padding, which takes oneDNN for 1 × 1 on more than one thread only."""
    return torch.mkldnn_convolution(features, weight, bias, (0, 0), stride, dilation, groups)


def allowed() -> bool:
    """Not where equal machines must give equal bits: what was timed may have gone otherwise on another one."""
    return not torch.are_deterministic_algorithms_enabled()


class Linear(nn.Linear):
    """In the place of a `torch.nn.Linear`."""

    def forward(self, rows: Tensor) -> Tensor:
        """As the stock layer."""
        if not allowed() or not rows.numel():
            return super().forward(rows)
        return product(rows, self.weight, self.bias)


class PointwiseConvolution(nn.Conv2d):
    """In the place of a `torch.nn.Conv2d` of 1 × 1."""

    def forward(self, features: Tensor) -> Tensor:
        """As the stock layer."""
        if not allowed():
            return super().forward(features)
        return convolution(features, self.weight, self.bias, self.stride, self.dilation, self.groups)


def use(model: nn.Module) -> list[nn.Module]:
    """Have oneDNN compute the model's layers that are large enough; which these are."""
    changed: list[nn.Module] = []
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.numel() >= LEAST_WEIGHTS:
            module.__class__ = Linear
        elif type(module) is nn.Conv2d and (module.kernel_size, module.padding) == ((1, 1), (0, 0)):
            module.__class__ = PointwiseConvolution
        else:
            continue
        changed.append(module)
    return changed


@lru_cache
@torch.inference_mode()
def is_faster(threads: int) -> bool:
    """Whether oneDNN is faster on this machine, with as many threads as there are: timed once for each number."""
    del threads
    rows, inputs, outputs = TRIAL
    generator = torch.Generator().manual_seed(0)
    values, weight = (torch.randn(count, inputs, generator=generator) for count in (rows, outputs))
    try:
        pairs = [
            (_seconds(lambda: functional.linear(values, weight)), _seconds(lambda: product(values, weight, None)))
            for _ in range(TRIALS)
        ]
    except (AttributeError, RuntimeError):  # a build of torch without oneDNN
        return False
    return min(stock for stock, _ in pairs) > TIMES_FASTER * min(ours for _, ours in pairs)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
