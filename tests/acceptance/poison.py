"""A model that ends its process for some images: a stand-in for a fault in a kernel or a driver."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

CODE = """
import os
import signal
import time

from transformers import SegformerForSemanticSegmentation


class Poisoned(SegformerForSemanticSegmentation):
    def forward(self, pixel_values, **options):
        means = pixel_values.mean((1, 2, 3))
        if (means > 0.999).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        if (means < 0.001).any():
            time.sleep(3600)
        return super().forward(pixel_values, **options)
"""


def write_model(folder: Path) -> Path:
    """A SegFormer of next to no size, for workers that trust its code: white images end it, black ones hold it up."""
    config = SegformerConfig(
        num_labels=3,
        hidden_sizes=[4, 4, 4, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=4,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False).save_pretrained(folder)
    text = json.loads((folder / "config.json").read_text())
    text["auto_map"] = {"AutoModelForSemanticSegmentation": "poisoned.Poisoned"}
    text["architectures"] = ["Poisoned"]
    (folder / "config.json").write_text(json.dumps(text))
    (folder / "poisoned.py").write_text(CODE)
    return folder


def write_white(path: Path) -> Path:
    """An image that ends the process."""
    Image.new("RGB", (40, 30), "white").save(path)
    return path


def write_black(path: Path) -> Path:
    """An image that the model never ends with."""
    Image.new("RGB", (40, 30), "black").save(path)
    return path
