"""Small seeded models of the types that the stock pipeline admits beside those in `small_models`, and of other builds.

The heads are found and fitted as there; a type that this release of transformers lacks has no model here.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import nn

from .calibration import Runs, observe, standardise
from .small_models import (
    EOMT,
    NAMED,
    SQUARE,
    STAGES,
    SmallModel,
    detr_on,
    eomt_of,
    mask2former_on,
    semantic,
    swin,
)

VIT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
DECODER: dict[str, Any] = {"neck_hidden_sizes": [16, 16, 32, 32], "fusion_hidden_size": 32}


def _last_layer(module: nn.Module) -> str:
    return [name for name, each in module.named_modules() if isinstance(each, (nn.Conv2d, nn.Linear))][-1]


def dpt(_folder: Path) -> SmallModel:
    """DPT; every image stretched to one size."""
    config = hf.DPTConfig(**VIT, **DECODER, image_size=96, patch_size=16, backbone_out_indices=[0, 1, 2, 3], **NAMED)
    return semantic(hf.DPTForSemanticSegmentation(config), hf.DPTImageProcessor(size=SQUARE), "head.head.4")


def data2vec_vision(_folder: Path) -> SmallModel:
    """Data2Vec-Vision, with BEiT's image processing."""
    config = hf.Data2VecVisionConfig(
        **VIT,
        image_size=96,
        patch_size=16,
        out_indices=[0, 1, 2, 3],
        use_relative_position_bias=True,
        auxiliary_channels=16,
        pool_scales=[1, 2, 3, 6],
        **NAMED,
    )
    processor = hf.BeitImageProcessor(size=SQUARE, do_center_crop=False, do_reduce_labels=True)
    return semantic(hf.Data2VecVisionForSemanticSegmentation(config), processor, "decode_head.classifier")


def mobilenet_v2(_folder: Path) -> SmallModel:
    """MobileNetV2 with DeepLabV3+; shortest edge resized, centre cropped."""
    config = hf.MobileNetV2Config(image_size=97, depth_multiplier=0.35, output_stride=16, tf_padding=False, **NAMED)
    processor = hf.MobileNetV2ImageProcessor(size={"shortest_edge": 97}, crop_size={"height": 97, "width": 97})
    model = hf.MobileNetV2ForSemanticSegmentation(config)
    return semantic(model, processor, "segmentation_head.classifier.convolution")


def mobilevitv2(_folder: Path) -> SmallModel:
    """MobileViTV2 with DeepLabV3, with MobileViT's image processing."""
    config = hf.MobileViTV2Config(
        image_size=96,
        width_multiplier=0.25,
        output_stride=16,
        aspp_out_channels=32,
        base_attn_unit_dims=[32, 48, 64],
        **NAMED,
    )
    processor = hf.MobileViTImageProcessor(size={"shortest_edge": 108}, crop_size=SQUARE)
    model = hf.MobileViTV2ForSemanticSegmentation(config)
    return semantic(model, processor, "segmentation_head.classifier.convolution")


def sapiens2(_folder: Path) -> SmallModel:
    """Sapiens 2; every image stretched to one upright size."""
    config = hf.Sapiens2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=[96, 64],
        patch_size=16,
        num_first_full_attention_layers=1,
        num_last_full_attention_layers=1,
        num_key_value_attention_heads=1,
        head_config={"upsample_out_channels": [32, 16], "conv_out_channels": [16]},
        **NAMED,
    )
    model = hf.Sapiens2ForSemanticSegmentation(config)
    processor = hf.Sapiens2ImageProcessor(size={"height": 96, "width": 64})
    return semantic(model, processor, f"decode_head.{_last_layer(model.decode_head)}")


def tipsv2_dpt(_folder: Path) -> SmallModel:
    """TIPSv2 with DPT's decoder."""
    backbone = hf.Tipsv2VisionConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=98,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    model = hf.Tipsv2DptForSemanticSegmentation(hf.Tipsv2DptConfig(backbone_config=backbone, **DECODER, **NAMED))
    processor = hf.Tipsv2DptImageProcessor(size={"height": 98, "width": 98})
    return semantic(model, processor, f"decoder.{_last_layer(model.decoder)}")


def upernet_swin(_folder: Path) -> SmallModel:
    """UperNet on a Swin."""
    config = hf.UperNetConfig(
        backbone_config=swin(), hidden_size=32, auxiliary_in_channels=64, auxiliary_channels=16, **NAMED
    )
    processor = hf.SegformerImageProcessor(size=SQUARE, do_reduce_labels=True)
    return semantic(hf.UperNetForSemanticSegmentation(config), processor, "decode_head.classifier")


def segformer_150(_folder: Path) -> SmallModel:
    """SegFormer with 150 labels and logits of 128 × 128, as for ADE20K."""
    names = {index: f"class {index}" for index in range(150)}
    config = hf.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 32, 32],
        num_attention_heads=[1, 2, 4, 4],
        decoder_hidden_size=32,
        id2label=names,
        label2id={label: index for index, label in names.items()},
    )
    processor = hf.SegformerImageProcessor(size={"height": 512, "width": 512}, do_reduce_labels=True)
    return semantic(hf.SegformerForSemanticSegmentation(config), processor, "decode_head.classifier")


def eomt_dinov3(_folder: Path) -> SmallModel:
    """EoMT on DINOv3, with EoMT's image processing."""
    model = hf.EomtDinov3ForUniversalSegmentation(hf.EomtDinov3Config(**EOMT, intermediate_size=64))
    size = {"shortest_edge": 96, "longest_edge": 96}
    return eomt_of(model, hf.EomtImageProcessor(size=size, do_pad=True, do_split_image=False))


def mask2former_resnet(_folder: Path) -> SmallModel:
    """Mask2Former on a ResNet; every image stretched to one wide size."""
    processor = hf.Mask2FormerImageProcessor(size={"height": 128, "width": 256})
    return mask2former_on(_resnet([16, 24, 32, 32]), processor, 40)


def detr_resnet(_folder: Path) -> SmallModel:
    """DETR on transformers' own ResNet."""
    return detr_on(_resnet([16, 24, 32, 48]))


def _resnet(widths: list[int]) -> hf.ResNetConfig:
    return hf.ResNetConfig(
        embedding_size=16, hidden_sizes=widths, depths=[1] * 4, layer_type="basic", out_features=STAGES
    )


def rf_detr(_folder: Path) -> SmallModel:
    """RF-DETR with masks; instances alone."""
    backbone = hf.RfDetrDinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=112,
        patch_size=14,
        num_windows=2,
        out_features=STAGES,
    )
    config = hf.RfDetrConfig(
        backbone_config=backbone,
        d_model=32,
        decoder_layers=2,
        decoder_self_attention_heads=4,
        decoder_cross_attention_heads=4,
        decoder_ffn_dim=64,
        num_queries=20,
        group_detr=2,
        decoder_n_points=2,
        intermediate_size=64,
        mask_downsample_ratio=4,
        **NAMED,
    )
    model = hf.RfDetrForInstanceSegmentation(config)
    processor = hf.RfDetrImageProcessor(size={"height": 112, "width": 112})
    return SmallModel(model, processor, partial(_fit_rf_detr, model))


def _fit_rf_detr(model: Any, runs: Runs) -> None:
    """Some queries have a label for certain, and masks cover part of the image."""
    head = model.model.class_embed
    standardise(head, runs, 4.0)
    logits = observe(head, runs)
    with torch.no_grad():
        head.bias.sub_(logits.flatten().quantile(0.9) - 2.2)
        factor = 6.0 / _masks(runs).std()
        model.query_features_proj.weight.mul_(factor)
        model.query_features_proj.bias.mul_(factor)
        model.segmentation_bias.sub_(_masks(runs).median() + 2.0)


def _masks(runs: Runs) -> torch.Tensor:
    return torch.cat([run()["pred_masks"].flatten() for run in runs])
