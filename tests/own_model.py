"""A cut-out model, made as those of the hub are: with code for its configuration, its net and its pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

CONFIG = """
from transformers import PretrainedConfig

class OwnConfig(PretrainedConfig):
    model_type = "own-cut-out"
"""

NET = """
import torch
from torch import nn
from transformers import PreTrainedModel
from .own_config import OwnConfig

class OwnNet(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Conv2d(3, 1, 3, padding=1)
        self.post_init()

    def forward(self, pixel_values):
        return [[torch.sigmoid(self.layer(pixel_values))]]
"""

PIPELINE = """
import numpy as np
import torch
from PIL import Image
from transformers import Pipeline
from transformers.image_utils import load_image

class OwnPipeline(Pipeline):
    def _sanitize_parameters(self, **parameters):
        return {}, {}, {}

    def preprocess(self, image):
        image = load_image(image)
        pixels = torch.tensor(np.array(image.resize((32, 32)))).permute(2, 0, 1)[None].float() / 255
        return {"pixel_values": pixels, "size": image.size}

    def _forward(self, inputs):
        size = inputs.pop("size")
        return {"matte": self.model(**inputs)[0][0], "size": size}

    def postprocess(self, outputs):
        matte = outputs["matte"][0, 0]
        matte = (matte - matte.min()) / (matte.max() - matte.min())
        return Image.fromarray((matte.numpy() * 255).astype("uint8")).resize(outputs["size"])
"""


def write_own_model(folder: Path) -> Path:
    """Write the model to a new folder."""
    folder.mkdir()
    for name, code in (("own_config", CONFIG), ("own_net", NET), ("own_pipeline", PIPELINE)):
        (folder / f"{name}.py").write_text(code)
    config = {
        "architectures": ["OwnNet"],
        "model_type": "own-cut-out",
        "auto_map": {"AutoConfig": "own_config.OwnConfig", "AutoModelForImageSegmentation": "own_net.OwnNet"},
        "custom_pipelines": {
            "image-segmentation": {
                "impl": "own_pipeline.OwnPipeline",
                "pt": ["AutoModelForImageSegmentation"],
                "default": {},
                "type": "image",
            }
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 1, 3, padding=1)
    weights = {"layer.weight": layer.weight.detach(), "layer.bias": layer.bias.detach()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
