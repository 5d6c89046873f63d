"""The model families of the exactness suite: each writes a small model folder and names the subtasks to try.

The folders load with `transformers.pipeline("image-segmentation", model=str(folder))`, offline.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import ImageSegmentationPipeline

from . import more_models, small_models
from .calibration import Runs, enliven
from .photographs import photographs
from .small_models import SmallModel

UNIVERSAL = (None, "panoptic", "instance", "semantic")
INSTANCE = (None, "instance")
SEMANTIC = (None, "semantic")


@dataclass(frozen=True)
class Family:
    """One model family: `write(folder)` makes its small model, the same at every call."""

    name: str
    draw: Callable[[Path], SmallModel]
    subtasks: tuple[str | None, ...]
    """Every subtask that the stock pipeline serves with this folder; `None` is the pipeline's own choice."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Pipeline parameters other than the defaults, for both sides."""
    needs: str = ""
    """The configuration's class, of a type that came with a later release of transformers."""
    every: int = 2
    """Its heads are fitted to every so manieth photograph."""
    seed: int = 20
    """Chosen so that inputs moved by 1e-5 leave every segment in place, and most photographs have several."""

    def write(self, folder: Path, device: str = "cpu") -> Path:
        """Writes config, safetensors weights, image processor and, where needed, tokenizer into `folder`.

        Weights are drawn and fitted on the device; another kind of device draws others.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(self.seed)
            small = self.draw(folder)
            enliven(small.model)
        small.model.eval()
        small.fit(_runs_on_photographs(small, self.subtasks, device, self.every))
        _save(small, folder)
        return folder


def is_here(family: Family) -> bool:
    """Whether the installed transformers has the type."""
    return not family.needs or hasattr(transformers, family.needs)


def _runs_on_photographs(small: SmallModel, subtasks: Sequence[str | None], device: str, every: int) -> Runs:
    """Runs of the model on a few photographs of different shapes, as the stock pipeline would make them."""
    pipe = ImageSegmentationPipeline(
        model=small.model, image_processor=small.image_processor, tokenizer=small.tokenizer, device=device
    )
    tasks = subtasks[1:] if small.tokenizer else subtasks[:1]  # a task sentence changes the queries
    with tempfile.TemporaryDirectory() as folder:
        paths = list(photographs(Path(folder)).values())[::every]
        inputs = [pipe.preprocess(str(path), subtask=task) for path in paths for task in tasks]
    return [partial(pipe.forward, item) for item in inputs]


def _save(small: SmallModel, folder: Path) -> None:
    small.model.save_pretrained(folder)
    small.image_processor.save_pretrained(folder)
    if small.tokenizer:
        small.tokenizer.save_pretrained(folder)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("detr", small_models.detr, UNIVERSAL, seed=0),
        Family("maskformer", small_models.maskformer, UNIVERSAL, seed=3),
        Family("mask2former", small_models.mask2former, UNIVERSAL, seed=1),
        Family("oneformer", small_models.oneformer, UNIVERSAL, seed=3),
        Family("eomt", small_models.eomt, UNIVERSAL),
        Family("eomt-semantic", small_models.eomt_semantic, ("semantic",)),
        Family("segformer", small_models.segformer, SEMANTIC),
        Family("beit", small_models.beit, SEMANTIC),
        Family("upernet", small_models.upernet, SEMANTIC),
        Family("mobilevit", small_models.mobilevit, SEMANTIC),
    )
}

OTHERS: dict[str, Family] = {
    family.name: family
    for family in (
        Family("dpt", more_models.dpt, SEMANTIC),
        Family("data2vec-vision", more_models.data2vec_vision, SEMANTIC),
        Family("mobilenet_v2", more_models.mobilenet_v2, SEMANTIC),
        Family("mobilevitv2", more_models.mobilevitv2, SEMANTIC),
        Family("sapiens2", more_models.sapiens2, SEMANTIC, needs="Sapiens2Config"),
        Family("tipsv2_dpt", more_models.tipsv2_dpt, SEMANTIC, needs="Tipsv2DptConfig"),
        Family("upernet-swin", more_models.upernet_swin, SEMANTIC),
        Family("segformer-150", more_models.segformer_150, SEMANTIC),
        Family("eomt_dinov3", more_models.eomt_dinov3, UNIVERSAL, needs="EomtDinov3Config"),
        Family("mask2former-resnet", more_models.mask2former_resnet, UNIVERSAL),
        Family("detr-resnet", more_models.detr_resnet, UNIVERSAL),
        Family("rf_detr", more_models.rf_detr, INSTANCE, needs="RfDetrConfig"),
    )
}
"""Families that are compared in this process, without jobs. Some types are of later releases of transformers."""

CASES: list[tuple[str, str | None]] = [
    (family.name, subtask) for family in FAMILIES.values() for subtask in family.subtasks
]
"""Family name and subtask, for `pytest.mark.parametrize(("family", "subtask"), CASES, ids=CASE_IDS)`."""

CASE_IDS: list[str] = [f"{family}-{subtask or 'default'}" for family, subtask in CASES]
