"""Write what is true of the sample images, as COCO panoptic: `maskmill score` then says how good a model's masks are.

python -m demo.truth --out truth
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.samples import SAMPLES, Sample
from demo.scenes import CLASSES, SAMPLE_SEEDS, THINGS, Scene, generate_scene


def write_truth(folder: Path) -> None:
    """`panoptic.json`, and the PNG of each sample below `panoptic/`."""
    scenes = {sample: generate_scene(SAMPLE_SEEDS[sample.place], sample.size) for sample in SAMPLES}
    (folder / "panoptic").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (sample, scene) in enumerate(scenes.items(), 1):
        width, height = sample.size
        images.append({"id": number, "file_name": sample.name, "width": width, "height": height})
        annotations.append(_annotation(folder, number, sample, scene))
    categories = [
        {"id": number, "name": name, "isthing": int(name in THINGS)} for number, name in enumerate(CLASSES, 1)
    ]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(whole), encoding="utf-8")


def _annotation(folder: Path, number: int, sample: Sample, scene: Scene) -> dict[str, Any]:
    name = f"{sample.name}.png"
    ids = scene.segment_map
    Image.fromarray(np.stack([ids, np.zeros_like(ids), np.zeros_like(ids)], -1).astype(np.uint8)).save(
        folder / "panoptic" / name
    )
    infos = [
        {"id": segment.id, "category_id": segment.label_id + 1, "iscrowd": 0, "area": int((ids == segment.id).sum())}
        for segment in scene.segments
    ]
    return {"image_id": number, "file_name": name, "segments_info": infos}


def main() -> None:
    """Write the truth into the folder that `--out` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("truth"), help="folder for the truth")
    write_truth(parser.parse_args().out)


if __name__ == "__main__":
    main()
