"""The other families at their released sizes, with weights drawn and fitted here, in folders of the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from PIL import Image
from skimage import data
from torch.nn import functional

from benchmarks.images import made_once, transformers_version
from benchmarks.models import SEED
from maskmill.schema import Subtask
from tests.exactness.calibration import Runs, enliven, fit_classes, fit_masks, fit_semantic
from tests.exactness.small_models import CLASS_INFO
from tests.exactness.small_tokenizer import write_tokenizer

SIZE = (640, 480)
"""Width and height of the photograph."""

KEPT_QUERIES = 0.12

MASK_LOGITS = {"mean": -11.0, "std": 8.0}
"""A mask covers a twelfth of the image, so that most queries that are kept are left as segments."""

COCO, ADE = 133, 150
"""Labels of COCO's panoptic classes, and of ADE20K."""


Fit = Callable[[Runs, Runs], None]
"""Fits a model's heads, given runs on a photograph at half its size and at its whole size."""


@dataclass(frozen=True)
class Family:
    """One family: how its model is written, what it is asked for, and by how much the worker must be faster."""

    name: str
    write: Callable[[Path], None]
    subtask: Subtask
    bar: float

    def folder(self) -> Path:
        """The model's folder, written once."""
        return made_once(f"{self.name.lower()}-{transformers_version()}", self.write)


def photograph() -> Image.Image:
    """A photograph of this size."""
    return Image.fromarray(data.coffee()).convert("RGB").resize(SIZE)


def _named(labels: int) -> dict[str, Any]:
    names = {index: f"label {index}" for index in range(labels)}
    return {"id2label": names, "label2id": {name: index for index, name in names.items()}}


def swin_tiny() -> hf.SwinConfig:
    """Swin-T as Mask2Former, MaskFormer and OneFormer are released with it."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    return hf.SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_features=stages
    )


@torch.no_grad()
def _write(folder: Path, model: Any, processor: Any, fit: Fit, tokenizer: Any = None) -> None:
    """Draw the weights, fit the heads to a photograph, save it all."""
    enliven(model)
    pipe = hf.ImageSegmentationPipeline(
        model=model.eval(), image_processor=processor, tokenizer=tokenizer, device="cpu"
    )
    inputs = pipe.preprocess(photograph(), subtask="panoptic")
    taken = {name: inputs[name] for name in ("task_inputs",) if name in inputs}
    whole = inputs["pixel_values"]
    half = functional.interpolate(whole, scale_factor=0.5)
    fit(*([partial(model, pixels, **taken)] for pixels in (half, whole)))
    for each in (model, processor, *([tokenizer] if tokenizer else [])):
        each.save_pretrained(folder)


def _queries(model: Any, embedder: str, classifier: str) -> Fit:
    """First masks, which attention follows, then classes, whose statistics change with the size."""
    part = model.get_submodule

    def fit(half: Runs, whole: Runs) -> None:
        fit_masks(part(PIXELS), part(embedder), half, **MASK_LOGITS)
        fit_classes(part(classifier), whole, KEPT_QUERIES)

    return fit


PIXELS = "model.pixel_level_module.decoder.mask_projection"


def _write_mask2former(folder: Path) -> None:
    """facebook/mask2former-swin-tiny-coco-panoptic: every image stretched to 384 × 384."""
    torch.manual_seed(SEED)
    model = hf.Mask2FormerForUniversalSegmentation(hf.Mask2FormerConfig(backbone_config=swin_tiny(), **_named(COCO)))
    embedder = "model.transformer_module.decoder.mask_predictor.mask_embedder"
    processor = hf.Mask2FormerImageProcessor(size={"height": 384, "width": 384})
    _write(folder, model, processor, _queries(model, embedder, "class_predictor"))


def _write_maskformer(folder: Path) -> None:
    """facebook/maskformer-swin-tiny-coco: the shorter edge 800, 640 × 480 becoming 1088 × 800."""
    torch.manual_seed(SEED)
    model = hf.MaskFormerForInstanceSegmentation(hf.MaskFormerConfig(backbone_config=swin_tiny(), **_named(COCO)))
    processor = hf.MaskFormerImageProcessor(size={"shortest_edge": 800, "longest_edge": 1333})
    _write(folder, model, processor, _queries(model, "mask_embedder", "class_predictor"))


def _write_oneformer(folder: Path) -> None:
    """shi-labs/oneformer_ade20k_swin_tiny: the shorter edge 512, 640 × 480 becoming 683 × 512."""
    torch.manual_seed(SEED)
    model = hf.OneFormerForUniversalSegmentation(
        hf.OneFormerConfig(backbone_config=swin_tiny(), num_queries=150, **_named(ADE))
    )
    processor = hf.OneFormerImageProcessor(
        size={"shortest_edge": 512, "longest_edge": 2048},
        repo_path=str(made_once("oneformer-classes", _write_class_info)),
        class_info_file=CLASS_INFO,
        num_text=134,
        num_labels=ADE,
    )
    decoder = "model.transformer_module.decoder"
    fit = _queries(model, f"{decoder}.mask_embed", f"{decoder}.class_embed")
    _write(folder, model, processor, fit, write_tokenizer(folder))


def _write_class_info(folder: Path) -> None:
    """In a folder of its own: the processor keeps its path, and a model's is another one until it is whole."""
    info = {str(index): {"name": f"label {index}", "isthing": index < ADE // 2} for index in range(ADE)}
    (folder / CLASS_INFO).write_text(json.dumps(info), encoding="utf-8")


def _write_segformer(folder: Path) -> None:
    """nvidia/segformer-b0-finetuned-ade-512-512: every image stretched to 512 × 512."""
    torch.manual_seed(SEED)
    model = hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**_named(ADE)))
    processor = hf.SegformerImageProcessor(size={"height": 512, "width": 512})
    _write(folder, model, processor, lambda _, whole: fit_semantic(model.decode_head.classifier, whole))


FAMILIES: Sequence[Family] = (
    Family("Mask2Former-Swin-T", _write_mask2former, Subtask.PANOPTIC, 1.5),
    Family("SegFormer-B0", _write_segformer, Subtask.SEMANTIC, 1.5),
    Family("MaskFormer-Swin-T", _write_maskformer, Subtask.PANOPTIC, 1.3),
    Family("OneFormer-Swin-T", _write_oneformer, Subtask.PANOPTIC, 1.5),
)
