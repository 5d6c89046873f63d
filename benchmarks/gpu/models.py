"""Models at the sizes that people run on a GPU, with weights drawn and fitted here; small ones for a dry run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import transformers as hf

from benchmarks.images import made_once, transformers_version
from benchmarks.models import COCO_SIZE, detr, fit_classes_evenly
from benchmarks.scale import say
from tests.exactness.calibration import Runs
from tests.exactness.families import FAMILIES, SEMANTIC, Family
from tests.exactness.small_models import STAGES, SmallModel, eomt_of, mask2former_of, oneformer_of, semantic

COCO_LABELS, ADE_LABELS = 133, 150


def _named(count: int) -> dict[str, Any]:
    names = {index: f"class {index}" for index in range(count)}
    return {"id2label": names, "label2id": {name: index for index, name in names.items()}}


def _swin_large() -> hf.SwinConfig:
    return hf.SwinConfig(
        image_size=384,
        embed_dim=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        out_features=STAGES,
    )


def _mask2former(_folder: Path) -> SmallModel:
    """facebook/mask2former-swin-large-coco-panoptic."""
    config = hf.Mask2FormerConfig(backbone_config=_swin_large(), num_queries=200, **_named(COCO_LABELS))
    small = mask2former_of(config, hf.Mask2FormerImageProcessor(size={"height": 384, "width": 384}))
    return _even(small, "class_predictor")


def _oneformer(folder: Path) -> SmallModel:
    """shi-labs/oneformer_coco_swin_large."""
    config = hf.OneFormerConfig(backbone_config=_swin_large(), num_queries=150, **_named(COCO_LABELS))
    return _even(oneformer_of(config, folder, COCO_SIZE), "model.transformer_module.decoder.class_embed")


def _segformer(_folder: Path) -> SmallModel:
    """nvidia/segformer-b5-finetuned-ade-640-640."""
    config = hf.SegformerConfig(
        depths=[3, 6, 40, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=768, **_named(ADE_LABELS)
    )
    processor = hf.SegformerImageProcessor(size={"height": 640, "width": 640}, do_reduce_labels=True)
    return semantic(hf.SegformerForSemanticSegmentation(config), processor, "decode_head.classifier")


def _eomt(_folder: Path) -> SmallModel:
    """tue-mps/coco_panoptic_eomt_large_640."""
    model = hf.EomtForUniversalSegmentation(hf.EomtConfig(num_blocks=4, num_queries=200, **_named(COCO_LABELS)))
    size = {"shortest_edge": 640, "longest_edge": 640}
    small = eomt_of(model, hf.EomtImageProcessor(size=size, do_pad=True, do_split_image=False))
    return _even(small, "class_predictor")


def _even(small: SmallModel, classifier: str) -> SmallModel:
    """The same with about `KEPT_QUERIES` of the queries kept in each photograph."""

    def fit(runs: Runs) -> None:
        small.fit(runs)
        fit_classes_evenly(small.model.get_submodule(classifier), runs)

    return replace(small, fit=fit)


PANOPTIC = (None, "panoptic")
"""The one that is measured; OneFormer's heads are fitted to each that is named."""

LARGE: dict[str, Family] = {
    "segformer": Family("segformer-b5", _segformer, SEMANTIC),
    "mask2former": Family("mask2former-swin-large", _mask2former, PANOPTIC, every=1, seed=1),
    "oneformer": Family("oneformer-swin-large", _oneformer, PANOPTIC, every=1, seed=3),
    "eomt": Family("eomt-large", _eomt, PANOPTIC, every=1),
}

NAMES = ("detr", *LARGE)
"""In the order in which they are measured."""


def _write_small(name: str, folder: Path) -> None:
    """Write it to a draft's folder; OneFormer's processor names the folder that it is in, which will be another one."""
    FAMILIES[name].write(folder)
    final = folder.with_suffix("")  # see `made_once`
    for config in folder.glob("*processor_config.json"):
        config.write_text(config.read_text(encoding="utf-8").replace(str(folder), str(final)), encoding="utf-8")


def model_folder(name: str, device: str, *, tiny: bool = False) -> Path:
    """The folder of the model, written at the first call: `model_folder("segformer", "cuda")`."""
    if tiny:
        return made_once(f"small-{name}-{transformers_version()}", partial(_write_small, name))
    if name == "detr":
        return detr(COCO_SIZE, device)
    write: Callable[[Path], object] = partial(LARGE[name].write, device=device)
    return made_once(f"{LARGE[name].name}-{device}-{transformers_version()}", write)


def draw_all(device: str, *, tiny: bool) -> None:
    """Write the models, one after the other."""
    for name in NAMES:
        say(f"{name}: {model_folder(name, device, tiny=tiny)}")
