"""The demo's DETR: its configuration, a start that learns fast from nothing, and its folder on disk.

`transformers` is made for fine-tuning DETR: the norms of the backbone are frozen, its first stages get no
gradient, and linear layers start so small that attention is flat. A model that starts from nothing needs the
norms and stages trained and the start of the DETR paper (https://arxiv.org/abs/2005.12872, appendix A.4).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import DetrConfig, DetrForSegmentation, DetrImageProcessor, ResNetConfig
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

from demo.data import MEAN, STD
from demo.scenes import CLASSES, STUFF, THINGS

ANCHORS = tuple(((column + 0.5) / 4, (row + 0.5) / 3) for row in range(3) for column in range(4))
"""Where the queries for things look at first: x and y, 0..1. The queries for stuff, one a class, come after them."""
ATTENTION_GAIN = 30.0
"""The mask head's attention channels sum to 1 over heads and cells; this lifts them to the image features' size."""


def build_config() -> DetrConfig:
    """A DETR of about 1.9 million weights, with features at strides 4, 4, 8 and 16."""
    backbone = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128],
        depths=[1, 2, 2],
        layer_type="basic",
        out_features=["stem", "stage1", "stage2", "stage3"],
    )
    return DetrConfig(
        backbone_config=backbone,
        num_queries=len(ANCHORS) + len(STUFF),
        d_model=128,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        dropout=0.0,
        id2label=dict(enumerate(CLASSES)),
        label2id={label: place for place, label in enumerate(CLASSES)},
    )


def build_processor(side: int) -> DetrImageProcessor:
    """DETR's own image processor, squeezing every image to `side` x `side` pixels."""
    return DetrImageProcessor(
        size={"height": side, "width": side},
        image_mean=list(MEAN),
        image_std=list(STD),
        format="coco_panoptic",
    )


def build_model(side: int) -> Any:
    """A model ready to train: every weight gets a gradient, and the norms gather statistics."""
    model = DetrForSegmentation(build_config())
    model.requires_grad_(True)
    with torch.no_grad():
        _start_linear_layers(model)
        _start_queries(model, side)
        _start_mask_head(model)
    _thaw_norms(model.detr.model.backbone)
    return model


def _start_linear_layers(model: Any) -> None:
    """Xavier's start for the encoder, the decoder and the heads; cross-attention begins by comparing places."""
    detr = model.detr
    for part in (detr.model.encoder, detr.model.decoder, detr.bbox_predictor):
        for weight in part.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
    nn.init.zeros_(detr.bbox_predictor.layers[-1].weight)
    for layer in detr.model.decoder.layers:
        layer.encoder_attn.q_proj.weight.mul_(1.3)
        layer.encoder_attn.k_proj.weight.copy_(layer.encoder_attn.q_proj.weight)


def _start_queries(model: Any, side: int) -> None:
    """Queries for things start as the position code of their anchor, those for stuff at random."""
    cells = side // 16
    codes = model.detr.model.position_embedding(
        shape=torch.Size([1, 1, cells, cells]), device="cpu", dtype=torch.float32
    )[0]
    queries = model.detr.model.query_position_embeddings.weight
    nn.init.normal_(queries, std=0.7)
    for place, (x, y) in enumerate(ANCHORS):
        queries[place] = codes[:, int(y * cells), int(x * cells)]


def _start_mask_head(model: Any) -> None:
    first = next(module for module in model.mask_head.modules() if isinstance(module, nn.Conv2d))
    first.weight[:, model.config.d_model :] *= ATTENTION_GAIN


def _thaw_norms(module: nn.Module) -> None:
    """Replace each frozen norm by one that trains; the names of its state stay the same."""
    for name, child in module.named_children():
        if isinstance(child, DetrFrozenBatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.weight.shape[0], momentum=0.02))
        else:
            _thaw_norms(child)


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Every norm that gathers statistics."""
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def frozen_copy(model: Any) -> Any:
    """The stock model with these weights: the trained norms become its frozen ones."""
    stock = DetrForSegmentation(build_config()).eval()
    stock.load_state_dict(model.state_dict())
    return stock


def save_folder(model: Any, side: int, folder: Path) -> None:
    """Write config, weights and image processor settings, then move each file into its place in `folder`."""
    fresh = folder / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    frozen_copy(model).save_pretrained(fresh)
    build_processor(side).save_pretrained(fresh)
    for path in fresh.iterdir():
        path.chmod(0o644)  # safetensors writes for its owner alone
        path.replace(folder / path.name)
    fresh.rmdir()


THING_COUNT = len(THINGS)
"""Label ids below this are things."""
