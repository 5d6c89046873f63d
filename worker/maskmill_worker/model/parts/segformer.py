"""SegFormer's decode head with its linear layers before the resizing, not after it, and folded into one.

The stock head brings each stage's features to 256 channels, resizes them to the first stage's size, joins the four,
and brings these 1024 channels to 256 again. All of it is linear, and so is batch normalisation: for each stage one
product at its own size is left, and a sum.

Source: `SegformerDecodeHead` of transformers 5.20 to 5.24.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class FoldedHead(nn.Module):
    """In the place of a `SegformerDecodeHead`: `stages` are linear layers from a stage's channels to the head's."""

    stages: nn.ModuleList
    classes: nn.Linear

    def forward(self, encoder_hidden_states: Sequence[Tensor], **_others: Any) -> Tensor:
        """Logits (B × labels × h × w) at the first stage's size."""
        first = encoder_hidden_states[0]
        hidden = self.stages[0](first.permute(0, 2, 3, 1))
        for features, stage in zip(encoder_hidden_states[1:], self.stages[1:], strict=True):
            small = stage(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            large = functional.interpolate(small, size=first.shape[-2:], mode="bilinear", align_corners=False)
            hidden += large.permute(0, 2, 3, 1)
        logits: Tensor = self.classes(hidden.relu_())
        return logits.permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def fold_head(head: Any) -> None:
    """Make a stock head a folded one. A last stage that comes without a shape has no place in it."""
    if not head.config.reshape_last_stage:
        return
    norm, width = head.batch_norm, head.linear_fuse.out_channels
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * scale
    fused = scale[:, None] * head.linear_fuse.weight[:, :, 0, 0].double()
    projections = [each.proj for each in head.linear_projections]
    parts = fused.split(width, 1)[::-1]  # the last stage's channels come first
    for projection, part in zip(projections, parts, strict=True):
        bias = bias + part @ projection.bias.double()
    weights = [part @ projection.weight.double() for projection, part in zip(projections, parts, strict=True)]
    first, *others = weights
    head.stages = nn.ModuleList(
        [_linear(first, bias, norm.weight), *(_linear(each, None, norm.weight) for each in others)]
    )
    head.classes = _linear(head.classifier.weight[:, :, 0, 0], head.classifier.bias, norm.weight)
    head.__class__ = FoldedHead


def _linear(weight: Tensor, bias: Tensor | None, like: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=like.device)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer.requires_grad_(False)
