"""Small seeded models with their own image processors, one function per family.

Every image processor keeps its family's behaviour (resizing, padding, crop, channel order) at a smaller size.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import nn

from .calibration import Runs, fit_classes, fit_flat_masks, fit_masks, fit_semantic, repeat
from .small_tokenizer import write_tokenizer

LABELS = ("sky", "water", "plant", "road", "wall", "person", "animal", "vehicle")
THINGS = frozenset({"person", "animal", "vehicle"})
CLASS_INFO = "class_info.json"
QUERIES = 12
ASPECT_KEEPING = {"shortest_edge": 96, "longest_edge": 160}
SQUARE = {"height": 96, "width": 96}
ATTENTION_GAIN = 8.0
STAGES = ["stage1", "stage2", "stage3", "stage4"]
NAMED: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: index for index, label in enumerate(LABELS)},
}

EOMT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 96,
    "patch_size": 8,
    "num_blocks": 2,
    "num_queries": QUERIES,
    "num_upscale_blocks": 2,
    "num_register_tokens": 2,
    **NAMED,
}


@dataclass(frozen=True)
class SmallModel:
    """A model, what the pipeline needs beside it, and how to fit its heads given runs on photographs."""

    model: hf.PreTrainedModel
    image_processor: Any
    fit: Callable[[Runs], None]
    tokenizer: hf.PreTrainedTokenizerBase | None = None


def query_fit(model: nn.Module, pixels: str, embedder: str, classifier: str) -> Callable[[Runs], None]:
    """Fits masks and classes in turn, twice: masked attention makes either depend on the other."""

    def fit(runs: Runs) -> None:
        masks = partial(fit_masks, model.get_submodule(pixels), model.get_submodule(embedder), runs)
        repeat(2, [masks, partial(fit_classes, model.get_submodule(classifier), runs)])

    return fit


def semantic(model: hf.PreTrainedModel, image_processor: Any, classifier: str) -> SmallModel:
    """A model of one label a pixel."""
    return SmallModel(model, image_processor, partial(fit_semantic, model.get_submodule(classifier)))


def swin() -> hf.SwinConfig:
    return hf.SwinConfig(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 4], window_size=4, out_features=STAGES)


def detr(_folder: Path) -> SmallModel:
    """DETR on a timm ResNet, as released; resized in proportion, padded to the batch's largest."""
    backbone = {
        "model_type": "timm_backbone",
        "backbone": "test_resnet",
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": [1, 2, 3, 4],
    }
    return detr_on(backbone)


def detr_on(backbone: Any) -> SmallModel:
    """DETR on a backbone of one's choice."""
    config = hf.DetrConfig(
        backbone_config=backbone,
        num_queries=QUERIES,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=8,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        **NAMED,
    )
    model = hf.DetrForSegmentation(config)
    return SmallModel(model, hf.DetrImageProcessor(size=ASPECT_KEEPING), partial(_fit_detr, model))


def _fit_detr(model: hf.DetrForSegmentation, runs: Runs) -> None:
    """DETR's masks differ between queries only by attention maps, which must be sharp and count in it."""
    attention_columns = model.config.d_model
    with torch.no_grad():
        model.bbox_attention.q_proj.weight.mul_(ATTENTION_GAIN)
        model.mask_head.conv1.conv.weight[:, attention_columns:].mul_(ATTENTION_GAIN)
    fit_flat_masks(model.mask_head.output_conv, runs)
    fit_classes(model.detr.class_labels_classifier, runs)


def maskformer(_folder: Path) -> SmallModel:
    """MaskFormer on a Swin; resized in proportion, then to multiples of 32, padded to the batch's largest."""
    decoder = hf.DetrConfig(
        num_queries=QUERIES,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
    )
    config = hf.MaskFormerConfig(
        backbone_config=swin(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **NAMED
    )
    model = hf.MaskFormerForInstanceSegmentation(config)
    fit = query_fit(model, "model.pixel_level_module.decoder.mask_projection", "mask_embedder", "class_predictor")
    return SmallModel(model, hf.MaskFormerImageProcessor(size=ASPECT_KEEPING), fit)


def mask2former(_folder: Path) -> SmallModel:
    """Mask2Former on a Swin, with MaskFormer's image processing."""
    return mask2former_on(swin(), hf.Mask2FormerImageProcessor(size=ASPECT_KEEPING), QUERIES)


def mask2former_on(backbone: Any, image_processor: hf.Mask2FormerImageProcessor, queries: int) -> SmallModel:
    """Mask2Former on a backbone of one's choice."""
    config = hf.Mask2FormerConfig(
        backbone_config=backbone,
        num_queries=queries,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        **NAMED,
    )
    return mask2former_of(config, image_processor)


def mask2former_of(config: hf.Mask2FormerConfig, image_processor: hf.Mask2FormerImageProcessor) -> SmallModel:
    """Mask2Former of this configuration."""
    model = hf.Mask2FormerForUniversalSegmentation(config)
    fit = query_fit(
        model,
        "model.pixel_level_module.decoder.mask_projection",
        "model.transformer_module.decoder.mask_predictor.mask_embedder",
        "class_predictor",
    )
    return SmallModel(model, image_processor, fit)


def oneformer(folder: Path) -> SmallModel:
    """OneFormer on a Swin; the task is a sentence for its tokenizer, its classes are a file beside it."""
    config = hf.OneFormerConfig(
        backbone_config=swin(),
        num_queries=QUERIES,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=1,
        decoder_layers=3,
        query_dec_layers=1,
        num_attention_heads=4,
        dropout=0.0,
        task_seq_len=24,
        **NAMED,
    )
    return oneformer_of(config, folder, ASPECT_KEEPING)


def oneformer_of(config: hf.OneFormerConfig, folder: Path, size: dict[str, int]) -> SmallModel:
    """OneFormer of this configuration, for images of this size."""
    model = hf.OneFormerForUniversalSegmentation(config)
    _write_class_info(folder, config.id2label)
    processor = hf.OneFormerImageProcessor(
        size=size,
        repo_path=str(folder),
        class_info_file=CLASS_INFO,
        num_text=config.num_queries,
        num_labels=len(config.id2label),
    )
    decoder = "model.transformer_module.decoder"
    fit = query_fit(
        model,
        "model.pixel_level_module.decoder.mask_projection",
        f"{decoder}.mask_embed",
        f"{decoder}.class_embed",
    )
    return SmallModel(model, processor, fit, write_tokenizer(folder))


def _write_class_info(folder: Path, labels: dict[int, str]) -> None:
    """Names and kinds of the classes; without it instance segmentation fails (`"ade20k" in None`)."""
    info = {str(index): {"name": label, "isthing": label in THINGS} for index, label in labels.items()}
    (folder / CLASS_INFO).write_text(json.dumps(info), encoding="utf-8")


def eomt_of(model: hf.PreTrainedModel, image_processor: hf.EomtImageProcessor) -> SmallModel:
    """EoMT with this image processing."""
    # Training anneals masked attention away, so released weights have none (Kerssies et al., arXiv:2503.19108).
    model.attn_mask_probs.zero_()
    return SmallModel(
        model,
        image_processor,
        query_fit(model, "upscale_block.block.1.layernorm2d", "mask_head", "class_predictor"),
    )


def eomt(_folder: Path) -> SmallModel:
    """EoMT as released for panoptic and instance segmentation: resized in proportion, padded to a square."""
    size = {"shortest_edge": 96, "longest_edge": 96}
    model = hf.EomtForUniversalSegmentation(hf.EomtConfig(**EOMT))
    return eomt_of(model, hf.EomtImageProcessor(size=size, do_pad=True, do_split_image=False))


def eomt_semantic(_folder: Path) -> SmallModel:
    """EoMT as released for semantic segmentation: an image is split into overlapping squares, a row each."""
    size = {"shortest_edge": 96, "longest_edge": None}
    model = hf.EomtForUniversalSegmentation(hf.EomtConfig(**EOMT))
    return eomt_of(model, hf.EomtImageProcessor(size=size, do_pad=False, do_split_image=True))


def segformer(_folder: Path) -> SmallModel:
    """SegFormer; every image stretched to one size."""
    config = hf.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 32, 32],
        num_attention_heads=[1, 2, 4, 4],
        decoder_hidden_size=32,
        **NAMED,
    )
    model = hf.SegformerForSemanticSegmentation(config)
    processor = hf.SegformerImageProcessor(size=SQUARE, do_reduce_labels=True)
    return semantic(model, processor, "decode_head.classifier")


def beit(_folder: Path) -> SmallModel:
    """BEiT; every image stretched to one size, normalised with mean and std 0.5."""
    config = hf.BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=96,
        patch_size=16,
        out_indices=[1, 2, 3, 4],
        use_relative_position_bias=True,
        auxiliary_channels=16,
        pool_scales=[1, 2, 3, 6],
        **NAMED,
    )
    model = hf.BeitForSemanticSegmentation(config)
    processor = hf.BeitImageProcessor(size=SQUARE, do_center_crop=False, do_reduce_labels=True)
    return semantic(model, processor, "decode_head.classifier")


def upernet(_folder: Path) -> SmallModel:
    """UperNet on a ConvNeXt; SegFormer's image processing."""
    backbone = hf.ConvNextConfig(hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], out_features=STAGES)
    config = hf.UperNetConfig(
        backbone_config=backbone, hidden_size=32, auxiliary_in_channels=32, auxiliary_channels=16, **NAMED
    )
    model = hf.UperNetForSemanticSegmentation(config)
    processor = hf.SegformerImageProcessor(size=SQUARE, do_reduce_labels=True)
    return semantic(model, processor, "decode_head.classifier")


def mobilevit(_folder: Path) -> SmallModel:
    """MobileViT with DeepLabV3; shortest edge resized, centre cropped, channels in BGR order."""
    config = hf.MobileViTConfig(
        image_size=96,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64],
        num_attention_heads=2,
        output_stride=16,
        aspp_out_channels=32,
        **NAMED,
    )
    model = hf.MobileViTForSemanticSegmentation(config)
    processor = hf.MobileViTImageProcessor(size={"shortest_edge": 108}, crop_size=SQUARE)
    return semantic(model, processor, "segmentation_head.classifier.convolution")
