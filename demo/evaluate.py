"""Panoptic quality of a model folder on synthetic scenes, through the stock pipeline at its default parameters.

python -m demo.evaluate --model worker/maskmill_worker/demo_model [--dtype bfloat16]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import pipeline

from demo.quality import Panoptic, class_qualities, panoptic_of_result
from demo.scenes import HELD_OUT_SEEDS, Scene, generate_scene


def evaluate(folder: Path, scenes: Sequence[Scene], dtype: str = "float32") -> dict[str, float]:
    """Panoptic quality per class of the model in `folder`, run in `dtype`."""
    segmenter = pipeline("image-segmentation", model=str(folder), dtype=dtype)
    return class_qualities(_pairs(segmenter, scenes))


def _pairs(segmenter: Any, scenes: Sequence[Scene]) -> Iterator[tuple[Panoptic, Panoptic]]:
    for scene in scenes:
        height, width = scene.segment_map.shape
        yield scene.panoptic, panoptic_of_result(segmenter(scene.image), (height, width))


def mean(qualities: dict[str, float]) -> float:
    """The quality over all classes, each counting the same."""
    return sum(qualities.values()) / len(qualities)


def main() -> None:
    """Print the quality of each class and of all on the held-out scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    arguments = parser.parse_args()
    qualities = evaluate(arguments.model, [generate_scene(seed) for seed in HELD_OUT_SEEDS], arguments.dtype)
    for label, quality in qualities.items():
        print(f"{label:<10} {quality:.3f}")
    print(f"{'all':<10} {mean(qualities):.3f}  ({len(HELD_OUT_SEEDS)} scenes)")


if __name__ == "__main__":
    main()
