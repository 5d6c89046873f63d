"""What training asks of the model: its outputs with masks for chosen queries only, their matching, and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # scipy has no types
from torch import nn
from torch.nn import functional
from torchvision.ops import (  # type: ignore[import-untyped]  # nor has torchvision
    box_convert,
    generalized_box_iou,
    generalized_box_iou_loss,
)

from demo.data import Batch
from demo.model import ANCHORS, THING_COUNT
from demo.scenes import CLASSES

NO_OBJECT = len(CLASSES)
NO_OBJECT_WEIGHT = 0.4
CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT, MASK_WEIGHT, DICE_WEIGHT, DENSE_WEIGHT = 2.0, 5.0, 2.0, 3.0, 3.0, 1.0
MASKS_PER_IMAGE = 3
"""Segments of an image whose masks are compared in one step: the mask head is the dearest part."""
Pairs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Image, query and segment of each matched pair, each int64 (M,)."""


@dataclass(frozen=True)
class Prediction:
    """Logits (L, B, Q, C + 1) and boxes (L, B, Q, 4) of every decoder layer, and what the mask head needs."""

    logits: torch.Tensor
    boxes: torch.Tensor
    queries: torch.Tensor
    memory: torch.Tensor
    features: tuple[torch.Tensor, ...]
    projected: torch.Tensor


class DenseHead(nn.Module):
    """Class and box of the segment at every cell of the encoder's output: only training uses it.

    It makes the encoder know what is where within a few hundred steps, long before the queries do.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, len(CLASSES) + 4)

    def forward(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory (B, D, h, w) to class logits (B, h*w, C) and boxes (B, h*w, 4)."""
        output = self.output(functional.relu(self.hidden(memory.flatten(2).transpose(1, 2))))
        return output[..., : len(CLASSES)], output[..., len(CLASSES) :].sigmoid()


def predict(model: Any, pixels: torch.Tensor) -> Prediction:
    """What `DetrForSegmentation.forward` does before its mask head, keeping every decoder layer's output."""
    core = model.detr.model
    features = tuple(core.backbone.model(pixels).feature_maps)
    projected = core.input_projection(features[-1])
    places = core.position_embedding(shape=features[-1].shape, device=pixels.device, dtype=pixels.dtype)
    places = places.flatten(2).transpose(1, 2).expand(len(pixels), -1, -1)
    tokens = projected.flatten(2).transpose(1, 2)
    encoded = core.encoder(inputs_embeds=tokens, spatial_position_embeddings=places).last_hidden_state
    layers = _decode(core, encoded, places)
    logits = model.detr.class_labels_classifier(layers)
    boxes = model.detr.bbox_predictor(layers).sigmoid()
    memory = encoded.transpose(1, 2).reshape(projected.shape)
    return Prediction(logits, boxes, layers[-1], memory, features, projected)


def _decode(core: Any, encoded: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Normed queries after each decoder layer: (L, B, Q, D)."""
    query_places = core.query_position_embeddings.weight.unsqueeze(0).expand(len(encoded), -1, -1)
    hidden = torch.zeros_like(query_places)
    outputs = []
    for layer in core.decoder.layers:
        hidden = layer(hidden, None, places, query_places, encoded, encoder_attention_mask=None)
        outputs.append(core.decoder.layernorm(hidden))
    return torch.stack(outputs)


def masks_of(model: Any, prediction: Prediction, images: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Mask logits (M, h, w) of the M queries named by `images` and `queries`, both int64 (M,).

    The stock mask head, with what all queries of an image share worked out once: a convolution is linear, so the
    first one adds up from the image's part and the attention's, and the adapters of the pyramid see no query.
    """
    head, width = model.mask_head, prediction.projected.shape[1]
    weight = head.conv1.conv.weight
    shared = functional.conv2d(prediction.projected, weight[:, :width], head.conv1.conv.bias, padding=1)
    attention = model.bbox_attention(prediction.queries, prediction.memory)[images, queries]
    hidden = shared[images] + functional.conv2d(attention, weight[:, width:], padding=1)
    hidden = head.conv2(head.conv1.activation(head.conv1.norm(hidden)))
    for stage, level in zip(head.fpn_stages, (2, 1, 0), strict=True):
        lateral = stage.fpn_adapter(prediction.features[level])[images]
        hidden = stage.refine(lateral + functional.interpolate(hidden, size=lateral.shape[-2:], mode="nearest"))
    masks: torch.Tensor = head.output_conv(hidden)
    return masks.squeeze(1)


def match(prediction: Prediction, batch: Batch, anchor_weight: float) -> Pairs:
    """Image, query and segment of each pair, int64 (M,): stuff by its class, things by the least total cost.

    The cost is DETR's, and `anchor_weight` times the distance from the query's anchor to the thing's centre,
    which keeps the pairs from changing at random while the predictions still say little.
    """
    costs = _costs(prediction, batch, anchor_weight)
    found: list[tuple[int, int, int]] = []
    for image, labels in enumerate(batch.labels.numpy()):
        stuff = np.flatnonzero(labels >= THING_COUNT)
        found += [(image, len(ANCHORS) + int(labels[place]) - THING_COUNT, int(place)) for place in stuff]
        things = np.flatnonzero((labels >= 0) & (labels < THING_COUNT))
        rows, columns = linear_sum_assignment(costs[image][:, things])
        found += [(image, int(row), int(things[column])) for row, column in zip(rows, columns, strict=True)]
    images, queries, segments = torch.tensor(found).unbind(1)
    return images, queries, segments


@torch.no_grad()
def _costs(prediction: Prediction, batch: Batch, anchor_weight: float) -> Any:
    """Cost of giving each thing query to each segment: float32 (B, anchors, MAX_SEGMENTS)."""
    count = len(ANCHORS)
    chances = prediction.logits[-1, :, :count].softmax(-1)
    boxes = prediction.boxes[-1, :, :count]
    labels = batch.labels.clamp(min=0)[:, None, :].expand(-1, count, -1)
    cost = -CLASS_WEIGHT * chances.gather(2, labels)
    cost += BOX_WEIGHT * torch.cdist(boxes, batch.boxes, p=1)
    cost += anchor_weight * torch.cdist(torch.tensor(ANCHORS).expand(len(boxes), -1, -1), batch.boxes[..., :2])
    for image in range(len(boxes)):
        cost[image] -= GIOU_WEIGHT * generalized_box_iou(_corners(boxes[image]), _corners(batch.boxes[image]))
    return cost.nan_to_num(1e3).numpy()


def _corners(boxes: torch.Tensor) -> torch.Tensor:
    corners: torch.Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners


def total_loss(
    model: Any, dense: DenseHead, batch: Batch, anchor_weight: float, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of a batch, and its parts by name."""
    prediction = predict(model, batch.pixels)
    pairs = match(prediction, batch, anchor_weight)
    parts = {
        "class": CLASS_WEIGHT * _class_loss(prediction, batch, pairs),
        "box": _box_loss(prediction, batch, pairs),
        "mask": _mask_loss(model, prediction, batch, pairs, rng),
        "dense": DENSE_WEIGHT * _dense_loss(dense, prediction, batch),
    }
    return sum(parts.values(), torch.zeros(())), {name: float(part.detach()) for name, part in parts.items()}


def _class_loss(prediction: Prediction, batch: Batch, pairs: Pairs) -> torch.Tensor:
    """Cross-entropy over every query of every layer, those without a segment counting NO_OBJECT_WEIGHT."""
    images, queries, segments = pairs
    layers, count = len(prediction.logits), prediction.logits.shape[2]
    targets = torch.full((len(batch.labels), count), NO_OBJECT)
    targets[images, queries] = batch.labels[images, segments]
    weights = torch.ones(NO_OBJECT + 1)
    weights[NO_OBJECT] = NO_OBJECT_WEIGHT
    logits = prediction.logits.flatten(0, 2)
    return layers * functional.cross_entropy(logits, targets.repeat(layers, 1, 1).flatten(), weights)


def _box_loss(prediction: Prediction, batch: Batch, pairs: Pairs) -> torch.Tensor:
    """L1 and generalised IoU of the matched boxes, summed over layers."""
    images, queries, segments = pairs
    targets = batch.boxes[images, segments]
    loss = torch.zeros(())
    for boxes in prediction.boxes:
        found = boxes[images, queries]
        loss = loss + BOX_WEIGHT * (found - targets).abs().sum(-1).mean()
        loss = loss + GIOU_WEIGHT * generalized_box_iou_loss(_corners(found), _corners(targets)).mean()
    return loss


def _mask_loss(
    model: Any, prediction: Prediction, batch: Batch, pairs: Pairs, rng: np.random.Generator
) -> torch.Tensor:
    """Cross-entropy and dice loss (https://arxiv.org/abs/1606.04797) of some of the matched masks."""
    images, queries, segments = pairs
    wanted = min(len(images), MASKS_PER_IMAGE * len(batch.labels))
    some = torch.from_numpy(rng.choice(len(images), wanted, replace=False))
    logits = masks_of(model, prediction, images[some], queries[some]).flatten(1)
    targets = batch.masks[images[some], segments[some]].flatten(1)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets)
    chances = logits.sigmoid()
    dice = 1 - (2 * (chances * targets).sum(1) + 1) / (chances.sum(1) + targets.sum(1) + 1)
    return MASK_WEIGHT * entropy + DICE_WEIGHT * dice.mean()


def _dense_loss(dense: DenseHead, prediction: Prediction, batch: Batch) -> torch.Tensor:
    """At every cell of the encoder's output: the class and the box of the segment that covers most of it."""
    logits, boxes = dense(prediction.memory)
    height, width = prediction.memory.shape[-2:]
    owner = functional.adaptive_avg_pool2d(batch.masks, (height, width)).flatten(2).argmax(1)
    labels = batch.labels.gather(1, owner)
    targets = batch.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    entropy = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    distance: torch.Tensor = (boxes - targets).abs().sum(-1).mean()
    return entropy + BOX_WEIGHT * distance
