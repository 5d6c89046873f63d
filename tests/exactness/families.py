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
from transformers import ImageSegmentationPipeline

from . import small_models
from .calibration import Runs, enliven
from .photographs import photographs
from .small_models import SmallModel

UNIVERSAL = (None, "panoptic", "instance", "semantic")
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
    seed: int = 20
    """Chosen so that inputs moved by 1e-5 leave every segment in place, and most photographs have several."""

    def write(self, folder: Path) -> Path:
        """Writes config, safetensors weights, image processor and, where needed, tokenizer into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            small = self.draw(folder)
            enliven(small.model)
        small.model.eval()
        small.fit(_runs_on_photographs(small, self.subtasks))
        _save(small, folder)
        return folder


def _runs_on_photographs(small: SmallModel, subtasks: Sequence[str | None]) -> Runs:
    """Runs of the model on a few photographs of different shapes, as the stock pipeline would make them."""
    pipe = ImageSegmentationPipeline(
        model=small.model, image_processor=small.image_processor, tokenizer=small.tokenizer, device="cpu"
    )
    tasks = subtasks[1:] if small.tokenizer else subtasks[:1]  # a task sentence changes the queries
    with tempfile.TemporaryDirectory() as folder:
        paths = list(photographs(Path(folder)).values())[::2]
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

CASES: list[tuple[str, str | None]] = [
    (family.name, subtask) for family in FAMILIES.values() for subtask in family.subtasks
]
"""Family name and subtask, for `pytest.mark.parametrize(("family", "subtask"), CASES, ids=CASE_IDS)`."""

CASE_IDS: list[str] = [f"{family}-{subtask or 'default'}" for family, subtask in CASES]
