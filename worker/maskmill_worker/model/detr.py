"""DETR with its mask head run only for the queries that will be kept, and what they share worked out once.

Which queries are kept is decided by the class logits alone, before any mask exists; for COCO that is about 8 of 100,
while the stock forward spends nine tenths of its time on masks of all of them (docs/architecture.md, 'The fast paths').
The masks are the stock ones up to the rounding of sums taken in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maskmill_worker.model.forward import Inputs, Keep, Outputs
from maskmill_worker.model.frozen_norms import folded

MAX_MASK_PIXELS = 2**22
"""Pixels of the highest-resolution masks that are worked out at a time: bounds memory whatever is kept."""


class DetrForward:
    """The fast forward of a `DetrForSegmentation`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.backbone = folded(model.detr.model.backbone).to(memory_format=torch.channels_last)
        self.head = model.mask_head.to(memory_format=torch.channels_last)

    def compile(self) -> None:
        """The backbone: the rest is short, or changes its shape with the number of queries kept."""
        self.backbone = torch.compile(self.backbone, dynamic=True)  # type: ignore[assignment]

    def __call__(self, inputs: Inputs, keep: Keep) -> list[Outputs]:
        """For each image its `logits` (1, K, C + 1) and `pred_masks` (1, K, h, w) of the K queries kept."""
        core = self.model.detr.model
        pixels = inputs["pixel_values"].contiguous(memory_format=torch.channels_last)
        pixel_mask = inputs.get("pixel_mask")
        if pixel_mask is None:
            pixel_mask = torch.ones_like(pixels[:, 0])
        features = self.backbone(pixels, pixel_mask)
        projected = core.input_projection(features[-1][0])
        encoded, queries = self._attend(projected, features[-1][1])
        logits = self.model.detr.class_labels_classifier(queries)
        kept = keep(logits)
        masks = self._masks([level for level, _ in features], projected, encoded, queries, features[-1][1], kept)
        counts = kept.sum(1).tolist()
        rows = zip(torch.split(logits[kept], counts), torch.split(masks, counts), inputs["target_size"], strict=True)
        return [Outputs(logits=each[None], pred_masks=mask[None], target_size=[size]) for each, mask, size in rows]

    def _attend(self, projected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder and decoder as the stock forward runs them: (B, h*w, D) and (B, Q, D)."""
        core = self.model.detr.model
        shape, flat_mask = projected.shape, mask.flatten(1)
        places = core.position_embedding(shape=shape, device=projected.device, dtype=projected.dtype, mask=mask)
        places = places.flatten(2).transpose(1, 2)
        tokens = projected.flatten(2).transpose(1, 2)
        encoded = core.encoder(
            inputs_embeds=tokens, attention_mask=flat_mask, spatial_position_embeddings=places
        ).last_hidden_state
        query_places = core.query_position_embeddings.weight.unsqueeze(0).repeat(len(tokens), 1, 1)
        decoded = core.decoder(
            inputs_embeds=torch.zeros_like(query_places),
            attention_mask=None,
            spatial_position_embeddings=places,
            object_queries_position_embeddings=query_places,
            encoder_hidden_states=encoded,
            encoder_attention_mask=flat_mask,
        )
        return encoded, decoded.last_hidden_state

    def _masks(
        self, features: list[Tensor], projected: Tensor, encoded: Tensor, queries: Tensor, mask: Tensor, kept: Tensor
    ) -> Tensor:
        """Mask logits (M, h, w) of the M kept queries of the whole batch, in the order of `kept`'s true entries."""
        memory = encoded.transpose(1, 2).reshape(projected.shape)
        height, width = features[0].shape[-2:]
        images, places = kept.nonzero(as_tuple=True)
        masks = queries.new_empty(len(images), height, width)
        if len(images):
            shared = _Shared(self.head, projected, features)
            attention = self._attention(queries, memory, mask, images, places)
            at_a_time = max(1, MAX_MASK_PIXELS // (height * width))
            for start in range(0, len(images), at_a_time):
                part = slice(start, start + at_a_time)
                masks[part] = shared.masks(images[part], attention[part])
        return masks

    def _attention(self, queries: Tensor, memory: Tensor, mask: Tensor, images: Tensor, places: Tensor) -> Tensor:
        """The kept queries' attention maps over the encoder's output: (M, heads, h, w)."""
        bias = torch.zeros_like(mask, dtype=memory.dtype).masked_fill_(~mask, torch.finfo(memory.dtype).min)
        maps: Tensor = self.model.bbox_attention(queries, memory, attention_mask=bias[:, None, None])
        return maps[images, places]


class _Shared:
    """What the mask head computes once per image: a convolution is linear, and the pyramid's adapters see no query."""

    def __init__(self, head: Any, projected: Tensor, features: list[Tensor]) -> None:
        self.head = head
        width = projected.shape[1]
        weight = head.conv1.conv.weight
        self.attention_weight = weight[:, width:].contiguous(memory_format=torch.channels_last)
        self.first = functional.conv2d(projected, weight[:, :width], head.conv1.conv.bias, padding=1)
        levels = features[-2::-1]
        self.laterals = [stage.fpn_adapter(level) for stage, level in zip(head.fpn_stages, levels, strict=True)]

    def masks(self, images: Tensor, attention: Tensor) -> Tensor:
        """Mask logits (M, h, w) for M attention maps (M, heads, h/8, w/8) of the images named."""
        head = self.head
        hidden = functional.conv2d(attention, self.attention_weight, padding=1).add_(self.first[images])
        hidden = head.conv2(head.conv1.activation(head.conv1.norm(hidden)))
        for stage, lateral in zip(head.fpn_stages, self.laterals, strict=True):
            raised = functional.interpolate(hidden, size=lateral.shape[-2:], mode="nearest")
            hidden = stage.refine(raised.add_(lateral[images]))
        masks: Tensor = head.output_conv(hidden)
        return masks[:, 0]
