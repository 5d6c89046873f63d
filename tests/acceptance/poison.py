"""A model whose code ends, holds up or bloats its processes for some images: stand-ins for faults of native code."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

POISON = {
    "red": "crashed",  # a segmentation fault in the process that decodes it
    "lime": "overdue",  # decoding without an end
    "blue": "out_of_memory",  # a memory bomb
    "white": "crashed",  # a segmentation fault in the process that runs the model
    "black": "crashed",  # a forward pass without an end
}
"""Colours of images, and the codes that they must end with."""

CODE = """
import os
import signal
import time

import numpy
from transformers import SegformerForSemanticSegmentation, SegformerImageProcessorPil


class PoisonedProcessor(SegformerImageProcessorPil):
    # runs where images are decoded

    def __call__(self, images, **options):
        pixel = numpy.asarray(images[0] if isinstance(images, list) else images)[0, 0].tolist()
        if pixel == [255, 0, 0]:
            os.kill(os.getpid(), signal.SIGSEGV)
        if pixel == [0, 255, 0]:
            time.sleep(3600)
        if pixel == [0, 0, 255]:
            numpy.ones(2**34)
        return super().__call__(images, **options)


class PoisonedModel(SegformerForSemanticSegmentation):
    def forward(self, pixel_values, **options):
        means = pixel_values.mean((1, 2, 3))
        if (means > 0.999).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        if (means < 0.001).any():
            time.sleep(3600)
        return super().forward(pixel_values, **options)
"""


def write_model(folder: Path) -> Path:
    """A SegFormer of next to no size, for workers that trust its code; `POISON` says which images do what to it."""
    config = SegformerConfig(
        num_labels=3,
        hidden_sizes=[4, 4, 4, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=4,
    )
    model = SegformerForSemanticSegmentation(config)
    model.save_pretrained(folder)
    # `save_pretrained` writes the names of old checkpoints, which transformers reads for its own classes alone.
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    SegformerImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False).save_pretrained(folder)
    text = json.loads((folder / "config.json").read_text())
    text["auto_map"] = {"AutoModelForSemanticSegmentation": "poisoned.PoisonedModel"}
    text["architectures"] = ["PoisonedModel"]
    (folder / "config.json").write_text(json.dumps(text))
    text = json.loads((folder / "preprocessor_config.json").read_text())
    text["auto_map"] = {"AutoImageProcessor": "poisoned.PoisonedProcessor"}
    text["image_processor_type"] = "PoisonedProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(text))
    (folder / "poisoned.py").write_text(CODE)
    return folder


def write_poison(folder: Path, colour: str, name: str) -> Path:
    """An image of one colour."""
    path = folder / f"{name}-{colour}.png"
    Image.new("RGB", (40, 30), colour).save(path)
    return path
