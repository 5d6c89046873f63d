"""Seeded models in folders of the cache, written once: DETR-ResNet-50 panoptic as released but for its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import transformers as hf
from PIL import Image
from torch import Tensor, nn

from benchmarks.images import benchmark_photographs, made_once, transformers_version
from tests.exactness.calibration import Runs, enliven, fit_classes, fit_flat_masks, fit_semantic, standardise

SEED = 0
KEPT_QUERIES = 0.08
"""About 8 of 100 queries pass the threshold of 0.9 on COCO."""

LABELS = 250
"""As facebook/detr-resnet-50-panoptic has them: COCO's ids of things and stuff, with gaps."""

COCO_SIZE = {"shortest_edge": 800, "longest_edge": 1333}
ADE_LABELS = 150
MASK_FIT_SIZE = {"shortest_edge": 200, "longest_edge": 333}
"""The mask head takes many seconds an image at full size, and its statistics change little with it."""

ATTENTION_GAIN = 8.0
"""Attention maps must be sharp to differ between queries."""

ATTENTION_WEIGHT = 100.0
"""An attention map sums to 1 over all positions: to count beside 256 features of unit variance, it needs weight."""

MIXING_GAIN = 0.2
"""Random attention that mixes at full strength leaves, after six layers, every position and query alike."""

ADAPTER_STD = 0.5
STUB_SIDE = 32


def detr(size: dict[str, int], device: str = "cpu") -> Path:
    """facebook/detr-resnet-50-panoptic's config and image processor at `size`, with weights drawn here.

    They are fitted on the device.
    """
    name = f"detr-resnet50-{size['shortest_edge']}-{transformers_version()}"
    return made_once(name, partial(_write_detr, size, device))


def segformer() -> Path:
    """SegFormer-B0 with ADE20K's 150 labels at 512×512, as nvidia/segformer-b0-finetuned-ade-512-512 is, drawn here."""
    return made_once(f"segformer-b0-512-{transformers_version()}", _write_segformer)


def stub() -> Path:
    """A SegFormer of next to no work for images of 32 by 32 pixels: what is left is all the rest of a job."""
    return made_once(f"stub-{transformers_version()}", _write_stub)


def _write_detr(size: dict[str, int], device: str, folder: Path) -> None:
    torch.manual_seed(SEED)
    model = hf.DetrForSegmentation(hf.DetrConfig(num_labels=LABELS)).eval()
    for part in (model.detr.model.encoder, model.detr.model.decoder, model.detr.model.query_position_embeddings):
        enliven(part)
    enliven(nn.ModuleList([model.detr.class_labels_classifier, model.mask_head, model.bbox_attention]))
    _tell_queries_apart(model.detr.model)
    model.to(device)
    photographs = _photographs(folder)
    with torch.inference_mode():
        pixels = [_pixels(MASK_FIT_SIZE, image).to(device) for image in photographs[::3]]
        _fit_masks(model, [partial(model, each) for each in pixels])
        # The class head's own statistics do change with the size; it runs without the mask head.
        pixels = [_pixels(size, image).to(device) for image in photographs]
        runs = [partial(model.detr, each) for each in pixels]
        fit_classes_evenly(model.detr.class_labels_classifier, runs)
    model.save_pretrained(folder)
    hf.DetrImageProcessor(size=size, format="coco_panoptic").save_pretrained(folder)


@torch.no_grad()
def _tell_queries_apart(detr: hf.DetrModel) -> None:
    for layer in [*detr.encoder.layers, *detr.decoder.layers]:
        layer.self_attn.o_proj.weight.mul_(MIXING_GAIN)
    for layer in detr.decoder.layers:
        layer.encoder_attn.q_proj.weight.mul_(ATTENTION_GAIN)


def _fit_masks(model: hf.DetrForSegmentation, runs: Runs) -> None:
    """Features of unit variance, sharp attention maps that count, and mask logits that vary in space."""
    attention_columns = model.config.d_model
    standardise(model.detr.model.input_projection, runs)
    model.bbox_attention.q_proj.weight.mul_(ATTENTION_GAIN)
    model.mask_head.conv1.conv.weight[:, attention_columns:].mul_(ATTENTION_WEIGHT)
    for adapter in _adapters(model.mask_head):
        standardise(adapter, runs, ADAPTER_STD)
    fit_flat_masks(model.mask_head.output_conv, runs)


@torch.no_grad()
def fit_classes_evenly(classifier: nn.Linear, runs: Runs) -> None:
    """About as many queries for each image: what tells whole images apart has no say in the classes."""
    means = torch.cat([_last_input(classifier, run).mean(dim=1) for run in runs])
    _, _, directions = torch.linalg.svd(means - means.mean(dim=0), full_matrices=False)
    weight = classifier.weight
    weight.sub_(weight @ directions.T @ directions)
    fit_classes(classifier, runs, KEPT_QUERIES)


def _last_input(module: nn.Module, run: Callable[[], object]) -> Tensor:
    """What the module is given last in a run: decoders call their heads after every layer."""
    newest: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: newest.append(inputs[0]))
    try:
        run()
    finally:
        handle.remove()
    return newest[-1]


def _adapters(mask_head: nn.Module) -> Sequence[nn.Module]:
    return [module for name, module in mask_head.named_modules() if "adapter" in name and hasattr(module, "weight")]


def _photographs(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in benchmark_photographs(folder / "photographs")]


def _pixels(size: dict[str, int], image: Image.Image) -> Tensor:
    pixels: Tensor = hf.DetrImageProcessor(size=size)(image, return_tensors="pt")["pixel_values"]
    return pixels


def _write_segformer(folder: Path) -> None:
    torch.manual_seed(SEED)
    model = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(num_labels=ADE_LABELS)).eval()
    processor = hf.SegformerImageProcessor()
    enliven(model)
    pixels = [processor(image, return_tensors="pt")["pixel_values"] for image in _photographs(folder)]
    with torch.inference_mode():
        fit_semantic(model.decode_head.classifier, [partial(model, each) for each in pixels])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _write_stub(folder: Path) -> None:
    torch.manual_seed(SEED)
    config = hf.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[4, 4, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        mlp_ratios=[1, 1, 1, 1],
        decoder_hidden_size=8,
        num_labels=4,
    )
    hf.SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    side = {"height": STUB_SIDE, "width": STUB_SIDE}
    hf.SegformerImageProcessor(size=side).save_pretrained(folder)
