"""Multi-scale deformable attention on the CPU: each output is a weighted sum of rows of one table.

The stock function samples every point of every level into a tensor of its own, stacks these, weighs them and adds
them up: 37 MB for each pass of a layer at 384 × 384. A bilinear sample is the weighted sum of the four pixels around
it, so an output is one of 4 × levels × points rows, which is what `embedding_bag` computes, in one pass.

Source: `multi_scale_deformable_attention` of transformers 5.24, modeling_mask2former.py and modeling_oneformer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill_worker.model.postprocess import Size


class SummedSamples(nn.Module):
    """In the place of `*PixelDecoderEncoderMultiscaleDeformableAttention`, with that one's attributes."""

    value_proj: nn.Linear
    sampling_offsets: nn.Linear
    attention_weights: nn.Linear
    output_proj: nn.Linear
    n_heads: int
    n_levels: int
    n_points: int

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        encoder_hidden_states: Tensor,
        reference_points: Tensor,
        spatial_shapes: Tensor | None = None,
        spatial_shapes_list: Sequence[Size] = (),
        position_embeddings: Tensor | None = None,
        **_others: Any,
    ) -> tuple[Tensor, Tensor]:
        """The attended states (B × Q × D) and the attention weights, as the stock module gives them."""
        if position_embeddings is not None:
            hidden_states = hidden_states + position_embeddings
        values = self.value_proj(encoder_hidden_states)
        if attention_mask is not None:
            values = values.masked_fill(attention_mask[..., None], 0.0)
        shape = (*hidden_states.shape[:2], self.n_heads, self.n_levels, self.n_points)
        weights = self.attention_weights(hidden_states).view(*shape[:3], -1).softmax(-1).view(shape)
        offsets = self.sampling_offsets(hidden_states).view(*shape, 2)
        if reference_points.shape[-1] != 2:
            raise ValueError("boxes as reference points")
        shapes = spatial_shapes_list
        if not shapes and spatial_shapes is not None:  # OneFormer of transformers 5.17 gives the tensor alone
            shapes = [(height, width) for height, width in spatial_shapes.tolist()]
        table = Table.of(values.unflatten(-1, (self.n_heads, -1)), shapes)
        return self.output_proj(table.sampled(reference_points[:, :, None, :, None], offsets, weights)), weights


@dataclass(frozen=True)
class Table:
    """Rows of D values, one for each pixel and head, of levels that lie one after the other, each in a border of zeros.

    Beyond the border all is zero, too: what lies there is sampled in it. `sizes` (2 × levels × 1) are widths and
    heights without the border, `first` (levels × 1) the levels' first pixels with it, `total` the pixels of an image.
    """

    rows: Tensor
    heads: int
    sizes: Tensor
    first: Tensor
    total: int

    @classmethod
    def of(cls, values: Tensor, shapes: Sequence[Size]) -> Table:
        """The table of `values` (B × pixels × heads × D)."""
        batch, _, heads, depth = values.shape
        areas = [(height + 2) * (width + 2) for height, width in shapes]
        after = max(width for _, width in shapes) + 3  # what is beside and below the last corner, and counts nothing
        rows = values.new_zeros(batch, sum(areas) + after, heads, depth)
        levels = torch.split(values, [height * width for height, width in shapes], 1)
        places = torch.split(rows[:, : sum(areas)], areas, 1)
        for level, place, (height, width) in zip(levels, places, shapes, strict=True):
            image = place.view(batch, height + 2, width + 2, heads, depth)
            image[:, 1:-1, 1:-1] = level.view(batch, height, width, heads, depth)
        sizes = torch.tensor([(width, height) for height, width in shapes]).T[..., None]
        first = torch.tensor([0, *accumulate(areas[:-1])], dtype=torch.int32)[:, None]
        return cls(rows.view(-1, depth), heads, sizes, first, rows.shape[1])

    def sampled(self, references: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """The weighted sums (B × Q × heads * D) of the samples at references (0 to 1) plus offsets (in pixels)."""
        (x, right), (y, below) = (
            _parts(references[..., axis] * size + offsets[..., axis], size) for axis, size in enumerate(self.sizes)
        )
        line = self.sizes[0].int() + 2
        pixels = (y * line).add_(x).add_(self.first)
        pixels += torch.arange(len(weights), dtype=torch.int32)[:, None, None, None, None] * self.total
        corner = pixels.mul_(self.heads).add_(torch.arange(self.heads, dtype=torch.int32)[:, None, None])
        lower = corner + line * self.heads
        upper_weights, lower_weights = weights * (1 - below), weights * below
        summed = self._sums(corner, upper_weights * (1 - right))
        summed += self._sums(corner.add_(self.heads), upper_weights.mul_(right))
        summed += self._sums(lower, lower_weights * (1 - right))
        summed += self._sums(lower.add_(self.heads), lower_weights.mul_(right))
        return summed.view(*weights.shape[:2], -1)

    def _sums(self, rows: Tensor, weights: Tensor) -> Tensor:
        indices, shares = (each.flatten(3).flatten(0, 2) for each in (rows, weights))
        return functional.embedding_bag(indices, self.rows, per_sample_weights=shares, mode="sum")


def _parts(places: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """For each place (0 is a level's edge) the pixel before it, the border's being 0, and how far it is to the next."""
    inside = (places + 0.5).clamp_(min=0).minimum(size + 1)
    before = inside.floor()
    return before.int(), inside.sub_(before)
